#!/bin/sh
# Plain hosts over ssh, by the plugin that ships as an example.
if [ -z "${SSH_INSIDE:-}" ] && [ "$(id -u)" -eq 0 ]; then
	SSH_INSIDE=1 exec unshare --net --mount sh "$0"
fi
. "$(dirname "$0")/lib.sh"
. "$here/../servers/ssh_hosts.sh"
requires_root
requires ssh /usr/sbin/sshd ip jq mkfs.btrfs tar

hosts=$work/hosts
mkdir "$hosts"
truncate -s 256M "$hosts/disk-1"
mkfs.btrfs -q "$hosts/disk-1" >/dev/null 2>&1
trap 'ssh_hosts_down "$hosts"; clear_work' EXIT
ssh_hosts_up "$hosts" 2
on() { # HOST COMMAND
	ssh -F "$hosts/ssh_config" -o BatchMode=yes -n "10.77.0.1$1" "$2"
}
for h in 1 2; do
	ssh_until on $h true || fail "h$h does not come up"
	on $h "mkdir -p /srv/www/sub && cd /srv/www &&
		seq 1 20000 >numbers && echo hello >sub/file &&
		ln sub/file hard && ln -s sub/file soft && chmod 640 numbers &&
		truncate -s 3M hole && echo x >>hole && touch 'a name'"
done
cd "$work"
cat >fleetbak.yaml <<END
fleet: {name: demo}
state_dir: ./state
repositories:
  main: {url: "file:./repo", sign_with: "file:./keys/sign.pem"}
trusted_signers: ["file:./keys/sign.pub.pem"]
sources:
  hosts:
    driver: plugin
    command: [$here/../../fixtures/plugins/ssh-hosts]
    options:
      hosts: "h1=10.77.0.11 h2=10.77.0.12"
      paths: /srv
      ssh_config: $hosts/ssh_config
END
plugin=$here/../../fixtures/plugins/ssh-hosts
expect 0 "$fb" driver test --option 'hosts=h1=10.77.0.11 h2=10.77.0.12' \
	--option paths=/srv --option "ssh_config=$hosts/ssh_config" \
	--machine h1 "$plugin"
grep -q 'ok *read-srv' "$work/stdout" || fail "h1 was not read"
tail -1 "$work/stdout" | grep -q ' 0 failed' || fail "a check failed"
ok "the plugin keeps its contract"

on 1 'cat >/srv/www/db' </dev/null
said() { # REQUEST: by hand
	printf '%s\n%s\n' "{\"id\":1,\"verb\":\"hello\",\"protocols\":[1],\"source\":\"s\",\"options\":{\"hosts\":\"h1=10.77.0.11\",\"paths\":\"/srv\",\"ssh_config\":\"$hosts/ssh_config\"}}" \
		"$1" | "$plugin" 4>"$work/stream" | sed -n 's/.*"answer":"\([A-Z_]*\)".*/\1/p' | tail -1
}
[ "$(said '{"id":2,"verb":"create_snapshot","machine":"h1","token":"t1"}')" = DONE ] ||
	fail "no snapshot"
on 1 'echo changed >/srv/www/sub/file'
[ "$(said '{"id":2,"verb":"read_stream","machine":"h1","volume":"srv","kind":"tree","token":"t1","offset":0}')" = DONE ] ||
	fail "no stream"
[ "$(tar -xOf "$work/stream" ./www/hard)" = hello ] ||
	fail "the snapshot follows the host"
[ "$(said '{"id":2,"verb":"remove_snapshot","machine":"h1","token":"t1"}')" = DONE ] ||
	fail "it is not removed"
on 1 'echo hello >/srv/www/sub/file; ls -A /srv; ls -A /var/lib/fleetbak-ssh' \
	>left
[ "$(cat left)" = www ] || fail "a snapshot is left"
ok "a host with btrfs is read from a snapshot"

expect 0 "$fb" -c fleetbak.yaml init
expect 0 "$fb" -c fleetbak.yaml download
expect 0 "$fb" -c fleetbak.yaml verify --full
nothing_lost repo
image() { # HOST
	on "$1" 'cd /srv/www && find . -printf "%y %m %n %s %l %P %T@\n" |
		sort && find . -type f -exec sha256sum {} + | sort'
}
for h in 1 2; do
	image $h >"before-$h"
	on $h 'cd /srv/www && echo bad >numbers && rm soft && echo x >extra'
	expect 0 "$fb" -c fleetbak.yaml restore h$h --in-place --yes
	image $h >"after-$h"
	cmp "before-$h" "after-$h" || fail "h$h is not what it was"
done
expect 0 "$fb" -c fleetbak.yaml restore h1 --target out --volume srv \
	--path www/numbers
seq 1 20000 | cmp - "$(find out -name numbers)" || fail "another file"
expect 1 "$fb" -c fleetbak.yaml restore h1 --as h3 --yes
ok "hosts are backed up and come back as they were"

# What a path's backup lacks because it lies on another file system.
refused() { # HOST
	on "$1" 'echo kept >/srv/www/below/file'
	expect 1 "$fb" -c fleetbak.yaml restore h"$1" --in-place --yes
	grep -q 'would be removed' "$work/stderr" || fail "another reason"
	[ "$(on "$1" 'cat /srv/www/below/file')" = kept ] || fail "it is gone"
	image "$1" >"after-$1"
	grep -q numbers "after-$1" || fail "the rest is gone"
}
on 2 'mkdir /srv/www/below && mount -t tmpfs tmpfs /srv/www/below'
refused 2
on 2 'umount /srv/www/below && mkdir /srv/elsewhere &&
	mount --bind /srv/elsewhere /srv/www/below'
refused 2
on 2 'umount /srv/www/below'
on 1 'btrfs -q subvolume create /srv/www/below'
refused 1
on 1 'btrfs -q subvolume delete /srv/www/below'
ok "a tree is not restored over what lies mounted below it"

ssh_host_stop "$hosts" 2
expect 3 "$fb" -c fleetbak.yaml download
grep -q 'h2.*cannot be reached' "$work/stderr" || fail "h2 is not told"
ok "a host that is away does not keep the other from being backed up"
