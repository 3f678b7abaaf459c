# shellcheck shell=sh
# The machine room: pid 1 of the namespaces in which a centre's hosts are made.
# It ends when its standard input does, and the kernel ends every host with it: nothing outlives the test process.
set -eu
mount -t tmpfs -o mode=0755 room "$1"
echo 0 > /proc/sys/net/ipv4/ip_forward
for network in outside inside; do
    ip link add "$network" type bridge
    ip link set "$network" up
done
echo up
exec env --ignore-signal=CHLD cat > /dev/null # ignored, so that the kernel reaps orphans
