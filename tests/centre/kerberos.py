"""Kerberos: its key distribution centre on login2, tickets for alice, and login nodes that let in by ticket alone.

A ticket is good for the name `andes`: no node's own name, and no address, is known to it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.centre.centre import Centre

PROGRAMS = {"/usr/sbin/krb5kdc": "krb5-kdc", "/usr/sbin/kadmin.local": "krb5-admin-server", "kinit": "krb5-user"}
SSHD = "AuthenticationMethods gssapi-with-mic\nGSSAPIAuthentication yes\nGSSAPIStrictAcceptorCheck no\n"
REALM = """\
[libdefaults]
default_realm = CENTRE.TEST
dns_lookup_kdc = false
dns_canonicalize_hostname = false
rdns = false
[realms]
CENTRE.TEST = {
  kdc = login2
  database_name = /var/spool/krb5/principal
  key_stash_file = /var/spool/krb5/stash
}
"""
SET_UP = """\
mkdir -p /var/spool/krb5
kdb5_util create -s -P master
kadmin.local addprinc -pw sesame alice
kadmin.local addprinc -randkey host/andes
kadmin.local ktadd -k /var/spool/krb5/keytab host/andes
krb5kdc
"""


def bring_up(centre: "Centre") -> None:
    """alice has a ticket on the hub then."""
    for host in centre.hosts.values():
        host.write("etc/krb5.conf", REALM)
    centre.login2.run(f"set -e\n{SET_UP}", "root", check=True)
    keytab = centre.login2.path("/var/spool/krb5/keytab").read_bytes()
    for host in (centre.login1, centre.login2):
        host.path("/etc/krb5.keytab").write_bytes(keytab)
        host.path("/etc/krb5.keytab").chmod(0o600)
        host.reconfigure_sshd(SSHD)
    centre.hub.run("kinit alice", input="sesame\n", check=True)
