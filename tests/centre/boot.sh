# shellcheck shell=sh
# pid 1 of one host. $1: its name, $2: its own directory in the room, $3: the home tree it mounts.
# Says "mounted", waits for a line while its network is plugged in, says "up" once sshd listens and
# its services are started.
set -eu
hostname "$1"
for directory in etc usr/local/bin var/spool; do # outlive a reboot, unlike the local ones below
    mount -t overlay -o "lowerdir=/$directory,upperdir=$2/$directory,workdir=$2/work/$directory" own "/$directory"
done
bindfs -o nonempty,allow_other,default_permissions,attr_timeout=1,entry_timeout=1,negative_timeout=0 "$3" /home
for directory in /tmp /var/tmp /dev/shm; do
    mount -t tmpfs -o mode=1777,nosuid,nodev local "$directory"
done
for directory in /run /var/log; do # else sshd would write to the machine's own logs
    mount -t tmpfs -o mode=0755,nosuid,nodev local "$directory"
done
mkdir -p /run/sshd /run/lock
for program in $(command -v npm node); do # a login node has none; where there is one, each JupyterLab asks it
    mount --bind /dev/null "$program"
done
echo mounted
read -r _
/usr/sbin/sshd -E /var/log/sshd.log
for service in /etc/gears-centre/services/*; do
    [ -e "$service" ] || continue
    log=/var/log/${service##*/}.log
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh "$service" > "$log" 2>&1 || { cat "$log" >&2; exit 1; }
done
echo up
exec env --ignore-signal=CHLD sleep infinity # ignored, so that the kernel reaps orphans
