#!/bin/sh
# The guest's first process: sets up what programs expect, runs /checks and turns the machine off.
export PATH=/usr/local/bin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
# /tmp stays as it is: the project, and so the path at which tests look for the command, may lie there.
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracing /sys/kernel/tracing
# All of them before anything runs, one after the other: busybox' modprobe does not wait for another's.
while read -r module; do
  insmod "/modules/$module" || echo "the module $module can't be loaded"
done </modules/order
ip link set lo up
hostname guest

# What is printed goes through a pipe: programs shall not find a terminal.
stty -F /dev/ttyS1 raw -echo
mkfifo /run/out
cat </run/out >/dev/ttyS1 &
exec 3<>/run/out

# check NAME SECONDS: runs /checks/NAME. The record separator (octal 36) begins the lines that are ours.
check() {
  begin=$(cut -d ' ' -f 1 /proc/uptime)
  printf '\n\036begin %s\n' "$1" >&3
  setsid timeout -s KILL "$2" sh "/checks/$1" </dev/null >&3 2>&1 3>&-
  status=$?
  printf '\n\036end %s %s %s %s\n' "$1" "$status" "$begin" "$(cut -d ' ' -f 1 /proc/uptime)" >&3
}
. /checks/all
printf '\n\036done\n' >&3
# Until all of it has gone out. What the checks left running is not waited for.
sleep 2
reboot -f
