"""What a directory with bundles says about itself, for a reader without gears."""

TEXT = """\
Bundles made by gears (`gears data put`)
========================================

*.tar            bundles: tar archives in the pax format, with paths relative to the directory that was put
*.index          what is in a bundle: written after the bundle was read back and compared
manifest-0001    all files of the first put, manifest-0002 of the second, and so on; the newest counts
SHA256SUMS-0001  checksums of the files of that put
BUNDLES-0001     checksums of all bundles that the put needs
owner, lock      whose put it is, and who is writing now (a lock only while a put runs)

Are the bundles whole? With the newest number:

    sha256sum --check BUNDLES-0001

Restore with GNU tar, into an empty directory: all bundles, in the order of their names.

    cat /path/to/[0-9]*.tar | tar -C DIRECTORY -xpf - --ignore-zeros --delay-directory-restore \\
        --xattrs --xattrs-include='*' --acls

or one after the other: `tar -C DIRECTORY -xpf 000001.tar`, 000002.tar, ... If a user's directory forbids writing to
its owner, use the first form. `Ignoring unknown extended header keyword 'hdrcharset'` is no error: a name is no UTF-8.

Is what was restored right? With the newest number:

    cd DIRECTORY && sha256sum --check /path/to/SHA256SUMS-0001

After several puts, tar also brings back files that had been deleted before the last put, and modes that were changed
later; the newest manifest says what there was. Each of its lines is a JSON object. With Python alone, one file:

    import json
    for line in open("manifest-0001"):
        entry = json.loads(line)
        if entry.get("path") == "results/table.csv":
            bundle = open(entry["bundle"], "rb")
            bundle.seek(entry["offset"])
            print(len(bundle.read(entry["size"])))

A name that is no UTF-8 is in base64 as `path_base64`. A file with `extents` (offset and length of each) has holes: the
bundle has its extents only, one after the other. The last line of a manifest or index is the SHA-256 of all lines
before it: `head -n -1 manifest-0001 | sha256sum`.
"""
