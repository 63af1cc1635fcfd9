#!/bin/sh
# Closes the private interface where DROPLAN_FAIL_CLOSED says so, then runs stage-0 (bootstrap.py) and answers for its
# outcome. User data writes this file to /opt/droplan and runs it once; after a failure a systemd timer runs it again every DROPLAN_INTERVAL minutes, until one run succeeds and clears up.
#
# The exit status is stage-0's, so that `cloud-init status` tells the truth. A systemd timer and not cron, because cron
# may be one of the packages that the failed install should have brought; every image that DigitalOcean offers has systemd.

home=/opt/droplan
state=/var/lib/droplan
settings=/etc/droplan/droplan.env
units=/etc/systemd/system

# cloud-init itself is Python, so there is one; on EL 8 it is not in PATH.
find_python() {
	for candidate in python3 /usr/libexec/platform-python python2.7 python; do
		if command -v "$candidate"; then
			return 0
		fi
	done
	return 1
}

# What the program of an earlier or somebody else's install left behind is a finished installation.
already_installed() {
	[ -x "$home/droplan" ] && [ ! -e "$state/unfinished" ]
}

run_stage0() {
	if [ -z "$python" ]; then
		echo "There is no Python on this machine: install python3, then run sh $home/bootstrap.sh." >"$state/bootstrap.err"
		return 127
	fi
	URL='' SHA256=''
	# shellcheck source=/dev/null # written by the user data, beside this file
	. "$home/bootstrap.conf"
	"$python" "$home/bootstrap.py" --url "$URL" --sha256 "$SHA256" --unattended 2>"$state/bootstrap.err"
}

# Leave nothing behind that only a failed bootstrap needs: /opt/droplan then holds what `droplan uninstall` knows.
clear_up() {
	if [ -n "$python" ]; then
		"$python" "$home/close.py" --open
	fi
	if [ -e "$units/droplan-bootstrap.timer" ]; then
		systemctl disable droplan-bootstrap.timer droplan-closed.service
		systemctl --no-block stop droplan-bootstrap.timer
		rm -f -- "$units/droplan-bootstrap.timer" "$units/droplan-bootstrap.service" "$units/droplan-closed.service"
		systemctl daemon-reload
	fi
	rm -f -- "$state/bootstrap.failed" "$state/bootstrap.err" "$state/bootstrap.closed"
	rm -f -- "$home/bootstrap.conf" "$home/bootstrap.py" "$home/close.py" "$home/bootstrap.sh"
}

minutes() {
	interval=$(sed -n 's/^DROPLAN_INTERVAL=\([0-9][0-9]*\)$/\1/p' "$settings" 2>/dev/null)
	echo "${interval:-5}"
}

# A second unit closes the interface again at boot, before the network is up: the rules of close.py are not saved.
schedule_retry() {
	if [ ! -d /run/systemd/system ]; then
		echo "Without systemd nothing tries again by itself: run sh $home/bootstrap.sh."
		return 0
	fi
	cat >"$units/droplan-bootstrap.service" <<-UNIT
		[Unit]
		Description=Try the bootstrap of droplan again
		Wants=network-online.target
		After=network-online.target

		[Service]
		Type=oneshot
		ExecStart=/bin/sh $home/bootstrap.sh
	UNIT
	cat >"$units/droplan-bootstrap.timer" <<-UNIT
		[Unit]
		Description=Try the bootstrap of droplan again until it succeeds

		[Timer]
		OnActiveSec=$(minutes)min
		OnUnitInactiveSec=$(minutes)min
		AccuracySec=1s

		[Install]
		WantedBy=timers.target
	UNIT
	cat >"$units/droplan-closed.service" <<-UNIT
		[Unit]
		Description=Keep the private interface closed until droplan is installed
		DefaultDependencies=no
		After=local-fs.target
		Wants=network-pre.target
		Before=network-pre.target shutdown.target
		Conflicts=shutdown.target
		ConditionPathExists=$state/bootstrap.closed

		[Service]
		Type=oneshot
		ExecStart=$python $home/close.py --remembered

		[Install]
		WantedBy=sysinit.target
	UNIT
	chmod 0644 "$units/droplan-bootstrap.service" "$units/droplan-bootstrap.timer" "$units/droplan-closed.service"
	systemctl daemon-reload
	systemctl enable droplan-bootstrap.timer droplan-closed.service
	systemctl --no-block start droplan-bootstrap.timer
	echo "The next try is in $(minutes) min."
}

# Connections that exist go on, a live SSH session too. Install's first refresh lets the peers in.
close_interface() {
	if [ -z "$python" ]; then
		echo "The private interface was left as it is."
	else
		"$python" "$home/close.py" || true # its sentence says what is open, and why
	fi
}

report() {
	sentence=$(grep '[^[:space:]]' "$state/bootstrap.err" | tail -n 1 | tr -d '[:cntrl:]')
	interface=$(close_interface 2>/dev/null) # again, for how it stands now: droplan may have rules of its own
	retry=$(schedule_retry 2>>"$state/bootstrap.err")
	sentence=${sentence:-stage-0 said nothing}
	line="exit $status: ${sentence%.}. $interface $retry"
	printf '%s\n' "$line" >"$state/bootstrap.failed"
	printf '%s\n' "droplan BOOTSTRAP FAILED, $line" >&2
	if [ -w /dev/console ]; then
		printf '\n%s\n' "*** droplan BOOTSTRAP FAILED on this Droplet, $line ***" >/dev/console
	fi
}

main() {
	umask 077
	PATH="$PATH:/usr/sbin:/usr/bin:/sbin:/bin"
	mkdir -p "$state"
	python=$(find_python) || python=''
	if already_installed && [ -e "$state/bootstrap.failed" ]; then
		clear_up
		return 0
	fi
	close_interface >&2 # before anything is fetched
	status=0
	run_stage0 || status=$?
	cat "$state/bootstrap.err" >&2
	if [ "$status" -eq 0 ]; then
		clear_up
	else
		report
	fi
	return "$status"
}

# Last line and in one piece: the file removes itself while it runs.
main; exit $?
