#!/bin/sh
# What a device does with its card, whatever its system: started by cloud-init, firstrun.sh or rpi-preseed, or
# already enabled in an image.
#
#   first-boot.sh enable   let systemd run it at every boot
#   first-boot.sh start    the same, and now
#   first-boot.sh disarm   take firstrun.sh out of cmdline.txt
#   first-boot.sh run      do what is left to do; exit code 1: something failed, systemd comes back in a minute
#
# Rules:
# - power may go at any moment: each step looks at what is there, and is done again until it is whole;
# - a secret leaves the card when it lies synced in its place and the agent runs, and not before;
# - what was taken from the card is noted, and is not taken twice: the device may have moved on since;
# - edge-firstboot.log on the card says what happened, to a person with the card in a reader. No secret in it.

set -u
umask 022

root=${EDGEFLOCK_ROOT:-} # a test's machine
boot=$root/boot/firmware
card=$boot/edgeflock
target=$root/opt/edgeflock
log=$boot/edge-firstboot.log
# Gone while what is on the device has yet to be seen to run. On the disk, because a cut forgets what a shell knows.
proven=$target/first-boot-done
tries=$root/run/edgeflock-first-boot.tries
words=$root/run/edgeflock-first-boot.words
quiet=no

say() {
  line="$(date -u +%Y-%m-%dT%H:%M:%SZ) (up $(cut -d. -f1 "$root/proc/uptime" 2>/dev/null) s) $*"
  echo "$line"
  [ "$quiet" = yes ] || echo "$line" >>"$log"
}

# A command whose last words matter only when it fails.
try() { # COMMAND...
  "$@" >"$words" 2>&1 && return 0
  tail -n 5 "$words" | while read -r line; do say "  $line"; done
  return 1
}

# A card is not filled by a device that fails for years, nor worn out: each hour's first try is told.
spare_the_card() {
  count=$(($(cat "$tries" 2>/dev/null || echo 0) + 1))
  echo "$count" >"$tries"
  if [ "$count" -gt 3 ] && [ $((count % 60)) -ne 0 ]; then quiet=yes; fi
  if [ -e "$log" ] && [ "$(wc -c <"$log")" -gt 65536 ]; then
    tail -n 200 "$log" >"$log.new" && mv "$log.new" "$log"
  fi
}

is_set_up() {
  cmp -s "$card/edgeflock-first-boot.service" "$root/etc/systemd/system/edgeflock-first-boot.service" &&
    systemctl is-enabled --quiet edgeflock-first-boot.service
}

set_up() {
  install -m 0644 "$card/edgeflock-first-boot.service" "$root/etc/systemd/system/" &&
    systemctl daemon-reload && systemctl enable edgeflock-first-boot.service
}

# Over the bytes that are there, with blanks for what goes: a card writes a sector or does not. Of a new file a power
# cut may leave nothing, and a board without cmdline.txt starts no more.
disarm() {
  size=$(wc -c <"$boot/cmdline.txt") &&
    line=$(sed 's/ systemd\.\(run\|run_success_action\|unit\)=[^ ]*//g' "$boot/cmdline.txt") &&
    [ -n "$line" ] &&
    LC_ALL=C printf "%-$((size - 1))s\n" "$line" |
    dd of="$boot/cmdline.txt" bs=4k iflag=fullblock conv=notrunc,fsync status=none
}

# --- the system ---------------------------------------------------------------------------------

# Watchdog, journal, clock: firmware-config/system, as one file because FAT has no links.
lay_out_system() {
  if [ ! -e "$card/system.tar" ] || cmp -s "$card/system.tar" "$target/system.tar"; then return 0; fi
  tar -C "$root/" --no-same-owner --keep-directory-symlink -xf "$card/system.tar" &&
    sh "$root/usr/local/lib/edgeflock/apply-system" "$card" &&
    sync && # what is noted as done is on the disk
    install -D -m 0644 "$card/system.tar" "$target/system.tar" &&
    say "system files: laid out"
}

board_serial() {
  for file in "$root/proc/device-tree/serial-number" "$root/sys/firmware/devicetree/base/serial-number"; do
    if [ -e "$file" ]; then
      tr -d '\0' <"$file"
      return
    fi
  done
  sed -n 's/^Serial[[:space:]]*: *//p' "$root/proc/cpuinfo"
}

# A device that is named by its board: the host is called the same. The others were named by their system.
name_host() {
  name=$(sed -n 's/^name = "\(.*{serial}.*\)"$/\1/p' "$card/device.toml" | head -n 1)
  [ -n "$name" ] || return 0
  serial=$(board_serial | tr 'A-F' 'a-f')
  [ -n "$serial" ] || { say "host name: this board tells no serial number"; return 1; }
  name=$(echo "$name" | sed "s/{serial}/$serial/g" | tr 'A-Z._' 'a-z--')
  [ "$(cat "$root/etc/hostname" 2>/dev/null)" = "$name" ] && return 0
  # Last what the line above looks at.
  sed -i "s/^127\.0\.1\.1[[:space:]].*/127.0.1.1\t$name/" "$root/etc/hosts" &&
    hostnamectl set-hostname "$name" &&
    say "host name: $name"
}

# The systems do this too, but not all of them well: rpi-preseed (July 2026) loses the keys on its way.
let_in() {
  if [ ! -e "$card/authorized_keys" ] || cmp -s "$card/authorized_keys" "$target/authorized_keys"; then return 0; fi
  home=$(getent passwd fleet | cut -d: -f6)
  [ -n "$home" ] || { say "SSH: there is no user 'fleet'; nobody can log in"; return 0; }
  keys=$root$home/.ssh/authorized_keys
  mkdir -p "${keys%/*}" && touch "$keys" || return 1
  if [ -n "$(tail -c 1 "$keys")" ]; then echo >>"$keys" || return 1; fi # a line that a cut left unended
  missing=$(grep -vxF -f "$keys" "$card/authorized_keys")
  if [ -n "$missing" ]; then printf '%s\n' "$missing" >>"$keys" || return 1; fi
  chmod 0700 "${keys%/*}" && chmod 0600 "$keys" && chown fleet:fleet "${keys%/*}" "$keys" &&
    systemctl enable --now ssh &&
    sync &&
    install -D -m 0644 "$card/authorized_keys" "$target/authorized_keys" &&
    say "SSH: the key on the card may log in as fleet"
}

# --- secrets, from the card to where only the service reads them ---------------------------------

state() {
  if [ -d "$root/var/lib/edgeflock" ] && [ ! -L "$root/var/lib/edgeflock" ]; then
    echo "$root/var/lib/edgeflock"
  else
    echo "$root/var/lib/private/edgeflock"
  fi
}

take() { # NAME
  [ -e "$card/$1" ] || return 0
  digest="$(sha256sum <"$card/$1") $1"
  grep -qxF "$digest" "$target/taken" 2>/dev/null && return 0
  folder=$(state)
  # After a cut just behind this, the agent may have used the token: its certificate must not be removed again.
  if ! cmp -s "$card/$1" "$folder/$1"; then
    move_in "$1" "$folder" || { say "$1: cannot be moved into $folder"; return 1; }
  fi
  rm -f "$proven"
  mkdir -p "$target" && echo "$digest" >>"$target/taken" && sync "$target/taken" || return 1
  say "$1: is in the state folder"
}

move_in() { # NAME FOLDER
  [ -d "$2" ] || install -d -m 0700 "$(dirname "$2")" "$2" || return 1
  # An account of systemd's own owns the folder once the service has run; before that it is given all of it.
  cp "$card/$1" "$2/.$1.new" && chmod 0600 "$2/.$1.new" && chown --reference="$2" "$2/.$1.new" &&
    sync "$2/.$1.new" || return 1
  # The certificate before it would keep the agent from asking for another, or come back as a fall-back.
  rm -f "$2/identity.pem" "$2/identity.pem.next" "$2/identity.pem.previous"
  mv "$2/.$1.new" "$2/$1" && sync "$2"
}

# A token that several devices share is worth something after its use here.
forget_claim() {
  is_enrolled && rm -f "$(state)/claim-token"
  return 0
}

# --- the runtime --------------------------------------------------------------------------------

packages() {
  for file in "$card"/edgeflock_*.deb "$card"/wheels/*.whl; do
    [ -e "$file" ] && basename "$file"
  done
}

needs_runtime() {
  works || return 0
  [ -n "$(packages)" ] && [ "$(packages)" != "$(cat "$target/from-card" 2>/dev/null)" ]
}

# Where a runtime works, what is on the card must be seen to go in before it gives way, and no index is tried: the
# device would be without an agent for as long as there is no network.
install_runtime() {
  needs_runtime || return 0
  packages=$(packages)
  if ! { install_deb || install_wheels || { ! works && install_from_index; }; }; then
    if works; then
      say "runtime: what is on the card cannot be installed; the one before it stays"
    else
      say "runtime: not installed; trying again"
    fi
    return 1
  fi
  rm -f "$proven"
  sync
  echo "$packages" >"$target/from-card"
  [ -e "$target/installed" ] || echo "$how" >"$target/installed"
  sync "$target/installed" "$target/from-card"
  say "runtime: installed from $how"
}

works() { [ -e "$target/installed" ]; }

install_deb() {
  how=$(find "$card" -maxdepth 1 -name "edgeflock_*_$(dpkg --print-architecture).deb" | sort | tail -n 1)
  [ -n "$how" ] || return 1
  say "runtime: installing ${how##*/}"
  try dpkg --configure -a # what a power cut left half done
  get_package "$how" || { try apt-get -q update && get_package "$how"; }
}

get_package() {
  try apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends --reinstall --allow-downgrades install "$1"
}

install_wheels() {
  [ -n "$(find "$card/wheels" -name '*.whl' 2>/dev/null)" ] || return 1
  how="the card's wheels"
  say "runtime: installing $how"
  if [ -e "$card/wheels/SHA256SUMS" ]; then
    (cd "$card/wheels" && try sha256sum -c --quiet SHA256SUMS) || return 1
  fi
  if works && [ -e "$target/venv/bin/pip" ]; then # a package's environment has none
    try "$target/venv/bin/pip" install --quiet --dry-run --ignore-installed --no-index --no-deps "$card"/wheels/*.whl ||
      return 1
  fi
  # The set is complete and chosen: what a wheel asks for besides is left out on purpose.
  make_venv && try "$target/venv/bin/pip" install --quiet --no-index --no-deps "$card"/wheels/*.whl
}

install_from_index() {
  how="the package index"
  say "runtime: installing from $how"
  make_venv && try "$target/venv/bin/pip" install --quiet 'edgeflock[edge]'
}

make_venv() {
  systemctl stop edgeflock.service
  rm -f "$target/installed"
  mkdir -p "$target"
  site=
  if [ "$(dpkg --print-architecture)" = armhf ]; then # for which there are no wheels of these
    site=--system-site-packages
    set -- python3-numpy python3-psutil python3-cryptography
    try dpkg -s "$@" || { try apt-get -q update && try apt-get -q -y install "$@"; } || return 1
  fi
  # --clear, because a power cut may have left half of it.
  try python3 -m venv --clear ${site:+"$site"} "$target/venv" && return 0
  # Ubuntu ships Python without venv.
  try apt-get -q update && try apt-get -q -y install python3-venv &&
    try python3 -m venv --clear ${site:+"$site"} "$target/venv"
}

# --- the service --------------------------------------------------------------------------------

set_up_service() {
  unit=$root/etc/systemd/system/edgeflock.service
  if [ -e "$root/usr/lib/systemd/system/edgeflock.service" ]; then # the package's own is the newer one
    cmp -s "$card/edgeflock.service" "$unit" && rm -f "$proven" "$unit"
  elif [ -e "$card/edgeflock.service" ] && ! cmp -s "$card/edgeflock.service" "$unit"; then
    rm -f "$proven"
    install -m 0644 "$card/edgeflock.service" "$unit" || return 1
  fi
  [ ! -e "$proven" ] || return 0
  systemctl daemon-reload && systemctl enable edgeflock.service && systemctl restart --no-block edgeflock.service
}

# True when the command succeeds within so many seconds.
within() { # SECONDS COMMAND...
  left=$1
  shift
  until "$@"; do
    [ "$left" -gt 0 ] || return 1
    left=$((left - 2))
    sleep 2
  done
}

is_settled() {
  systemctl is-active --quiet edgeflock.service || systemctl is-failed --quiet edgeflock.service
}

is_enrolled() { [ -s "$(state)/identity.pem" ]; }

report() {
  within 180 is_settled
  if ! systemctl is-active --quiet edgeflock.service; then
    say "agent: $(systemctl is-active edgeflock.service); its last words:"
    last_words
    return 1
  fi
  say "agent: runs"
}

last_words() {
  journalctl -u edgeflock.service -n 5 -o cat --no-pager | while read -r line; do say "  $line"; done
}

report_enrolment() {
  if grep -q '^claim = ' "$card/device.toml" && ! within 300 is_enrolled; then
    say "enrolled: not yet; the agent goes on trying. Its last words:"
    last_words
  elif grep -q '^ca = ' "$card/device.toml"; then
    say "enrolled: $(is_enrolled && echo yes || echo 'without a certificate of its own')"
  fi
  if [ -n "$(find "$(state)" -name pointer.json 2>/dev/null)" ]; then
    say "served: a model is in place"
  else
    say "served: not yet; a model comes with the first push"
  fi
}

# --- scrubbing ----------------------------------------------------------------------------------

# Overwritten first: removing a file of FAT leaves its bytes. What the card's controller keeps of an older
# copy of a sector, nobody can reach from here.
scrub() {
  for name in claim-token identity.pem; do
    # Renamed first, and on the card so: half a file of zeros must not pass for a secret at the next boot.
    [ ! -e "$card/$name" ] || { mv "$card/$name" "$card/$name.used" && sync "$card"; } || return 1
    wipe "$card/$name.used" || return 1
  done
  for name in custom.toml firstrun.sh; do
    grep -q 'systemd\.run=' "$boot/cmdline.txt" 2>/dev/null || wipe "$boot/$name" || return 1
  done
  for name in network-config rpi-preseed.toml; do
    mask "$boot/$name" || return 1
  done
}

wipe() { # FILE
  [ -e "$1" ] || return 0
  if [ -s "$1" ]; then # a power cut may have left nothing of it
    dd if=/dev/zero of="$1" bs="$(wc -c <"$1")" count=1 conv=notrunc,fsync status=none || return 1
  fi
  rm -f "$1" && sync "$(dirname "$1")" && say "scrubbed: ${1##*/}"
}

# An x for each byte of a password, in place: the file is whole at any moment and as long as before. cloud-init
# goes by the instance id in it, so this is no new first boot.
mask() { # FILE
  [ -e "$1" ] || return 0
  masked=$(mktemp) || return 1
  LC_ALL=C sed ':more
s/^\( *password *[:=] *"x*\)[^x]\(.*"\)$/\1x\2/
t more' "$1" >"$masked" || return 1
  if ! cmp -s "$masked" "$1"; then
    dd if="$masked" of="$1" conv=notrunc,fsync status=none || return 1
    say "scrubbed: the password in ${1##*/}"
  fi
  rm -f "$masked"
}

# ------------------------------------------------------------------------------------------------

run() {
  # A root in memory forgets all of this: it is done before a device is given one.
  [ "$(findmnt -n -o FSTYPE "$root/")" != overlay ] || return 0
  spare_the_card
  failed=no
  lay_out_system || { say "system files: not laid out"; failed=yes; }
  name_host || { say "host name: not set"; failed=yes; }
  let_in || { say "SSH: the key was not put in its place"; failed=yes; }
  take claim-token && take identity.pem || return 1
  install_runtime || { works && failed=yes; } || return 1
  set_up_service || return 1
  if [ ! -e "$proven" ]; then
    report || return 1
  fi
  scrub || { say "the card cannot be scrubbed: it still holds secrets"; return 1; }
  if [ ! -e "$proven" ]; then
    report_enrolment
    say "done"
    : >"$proven"
    sync
  fi
  forget_claim
  # These are not worth a try a minute for ever: the rest at the next boot.
  [ "$failed" = no ] || [ "$count" -ge 3 ]
}

case "${1:-}" in
enable) is_set_up || set_up ;;
start) is_set_up || { set_up && systemctl start --no-block edgeflock-first-boot.service; } ;;
disarm) disarm ;;
run) run ;;
*)
  echo "usage: first-boot.sh enable|start|disarm|run" >&2
  exit 2
  ;;
esac
