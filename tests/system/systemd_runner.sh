#!/bin/bash
# systemd_runner.sh [-p UNIT_PROPERTY]... COMMAND [ARG...]
#
# Runs COMMAND as a service of a real systemd, which is PID 1 of namespaces of its own; prints what the command printed
# and exits with its status. Needs root, unshare and systemd; nothing outside the repository. /tmp, /var/tmp, /run,
# /var/log and /var/lib/systemd are private and empty inside, the network is a loopback of its own, cgroup v2 is the
# unified tree and has a root of its own, so several may run at once. The rest of the file system is the real one, so
# the checkout and its virtual environment are there. SECONDS_MAX (default 120) bounds the whole run; when it is over, everything inside is killed with its PID 1.
set -u

properties=()
while [ "${1-}" = -p ]; do
  properties+=("$2")
  shift 2
done
if [ $# -eq 0 ]; then
  echo "usage: $0 [-p UNIT_PROPERTY]... COMMAND [ARG...]" >&2
  exit 2
fi

exchange=$(mktemp -d) || exit 2
trap 'rm -rf "$exchange"' EXIT
inside=/run/systemd-runner

# What the unit runs. %q keeps every argument whole through the shell.
{
  printf '#!/bin/bash\ncd %q || exit 2\nexport PATH=%q HOME=%q\n' "$PWD" "$PATH" "$HOME"
  printf '%q ' "$@"
  printf '> %s/output 2>&1\necho $? > %s/status\n' "$inside" "$inside"
} > "$exchange/command.sh"

{
  printf '[Unit]\nDefaultDependencies=no\nAfter=basic.target\n\n'
  printf '[Service]\nType=oneshot\nTimeoutStartSec=infinity\n'
  printf 'ExecStart=/bin/bash %s/command.sh\n' "$inside"
  # Whatever became of the command, the run is over: leave.
  printf 'ExecStopPost=/bin/systemctl --no-block exit 0\n'
  [ ${#properties[@]} -eq 0 ] || printf '%s\n' "${properties[@]}"
} > "$exchange/runner.service"

# Units that would work on the real machine, or take time, and that no test needs.
masked_services="systemd-tmpfiles-setup systemd-tmpfiles-clean systemd-tmpfiles-setup-dev systemd-udevd
  systemd-udev-trigger systemd-remount-fs systemd-sysctl systemd-modules-load systemd-hwdb-update systemd-pstore
  systemd-journal-flush systemd-random-seed systemd-update-utmp systemd-binfmt systemd-repart networking"
masked_timers="systemd-tmpfiles-clean apt-daily apt-daily-upgrade dpkg-db-backup fstrim"

cat > "$exchange/boot.sh" <<BOOT
set -e
mount -t tmpfs none /run
mkdir -p $inside /run/lock /run/systemd/system
mount --bind "$exchange" $inside
private="/var/tmp /var/log /var/lib/systemd"
case "$PWD:$HOME:$PATH" in */tmp/*) ;; *) private="/tmp \$private" ;; esac
for directory in \$private; do mkdir -p \$directory; mount -t tmpfs none \$directory; done
mount -t tmpfs none /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up 2>/dev/null || true
units=/run/systemd/system
cp $inside/runner.service \$units/
printf '[Unit]\nRequires=runner.service\nAfter=runner.service\n' > \$units/runner.target
for name in $(echo $masked_services); do ln -sf /dev/null \$units/\$name.service; done
for name in $(echo $masked_timers); do ln -sf /dev/null \$units/\$name.timer; done
exec env -i container=lxc PATH="\$PATH" HOME="\$HOME" /lib/systemd/systemd --system --unit=runner.target \
  --show-status=no --log-level=warning --log-target=console
BOOT

# The cgroup tree is one for the whole machine, whatever the mount: without a root of its own every systemd started
# here would manage the same groups, and the tests of one would find the processes of another.
cat > "$exchange/enclose.sh" <<ENCLOSE
tree=$exchange/cgroup
mkdir \$tree && mount -t cgroup2 none \$tree || exit 2
own=\$tree\$(sed -n 's/^0:://p' /proc/self/cgroup)
root=\$own/systemd-runner-\$\$
mkdir "\$root" && echo \$\$ > "\$root/cgroup.procs" || exit 2
timeout -k 5 ${SECONDS_MAX:-120} unshare --cgroup --pid --mount --uts --ipc --net --fork --mount-proc --kill-child \
  --propagation private bash "$exchange/boot.sh"
echo \$\$ > "\$own/cgroup.procs"
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  find "\$root" -depth -type d -exec rmdir {} + 2>/dev/null
  [ -d "\$root" ] || break
  sleep 0.1
done
ENCLOSE
unshare --mount --propagation private bash "$exchange/enclose.sh" > "$exchange/console" 2>&1 < /dev/null

cat "$exchange/output" 2>/dev/null
if [ -f "$exchange/status" ]; then
  exit "$(cat "$exchange/status")"
fi
echo "systemd_runner: the command did not finish; the console of systemd said:" >&2
tail -n 40 "$exchange/console" >&2
exit 124
