# shellcheck shell=sh
# pid 1 of one host. $1: its name, $2: its own directory in the room, $3: the home tree it mounts.
# Says "mounted", waits for a line while its network is plugged in, says "up" once sshd listens.
set -eu
hostname "$1"
mount -t overlay -o "lowerdir=/etc,upperdir=$2/etc,workdir=$2/work" etc /etc
bindfs -o nonempty,allow_other,default_permissions,attr_timeout=1,entry_timeout=1,negative_timeout=0 "$3" /home
for directory in /tmp /var/tmp /dev/shm; do
    mount -t tmpfs -o mode=1777,nosuid,nodev local "$directory"
done
for directory in /run /var/log; do # else sshd would write to the machine's own logs
    mount -t tmpfs -o mode=0755,nosuid,nodev local "$directory"
done
mkdir -p /run/sshd /run/lock
echo mounted
read -r _
/usr/sbin/sshd -E /var/log/sshd.log
echo up
exec env --ignore-signal=CHLD sleep infinity # ignored, so that the kernel reaps orphans
