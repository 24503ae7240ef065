#!/bin/sh
# A key that is trusted and was stolen, or whose owner is careless: whatever
# it signs, a restore writes nothing beside its target, and fills neither
# memory nor disk.
#
# Runs in a mount namespace of its own, below an overlay of the whole system
# where there is one: what is written anywhere is seen.
. "$(dirname "$0")/lib.sh"
requires jq unshare chroot tar
requires_root
if [ -z "${HOSTILE_INSIDE:-}" ]; then
	unshare -m true 2>/dev/null || {
		echo 'skip  cannot make a mount namespace'
		exit 77
	}
	clear_work
	trap - EXIT
	exec unshare -m --propagation private \
		env HOSTILE_INSIDE=yes sh "$0"
fi

world=$work/world
mkdir "$world" "$work/cover" "$work/root"
mount -t tmpfs -o size=300m,nr_inodes=50k none "$world"
mount -t tmpfs none "$work/cover"
trap 'cd /; umount -l "$work/root" "$work/cover" "$world"; clear_work' EXIT
mkdir "$world/outside" "$world/tmp" "$work/cover/upper" "$work/cover/work"
echo canary >"$world/outside/canary"
chmod 600 "$world/outside/canary"
inside= # what runs a command where all is watched
if mount -t overlay -o "lowerdir=/,upperdir=$work/cover/upper" \
	-o "workdir=$work/cover/work" none "$work/root" 2>/dev/null &&
	[ -x "$work/root$fb" ]; then
	mount --bind "$world" "$work/root$world"
	mount --bind /proc "$work/root/proc"
	mount --bind /dev "$work/root/dev"
	inside="chroot $work/root env TMPDIR=$world/tmp"
else
	umount -l "$work/root" 2>/dev/null || :
	echo "      no overlay here: only what lies beside is watched"
fi
mkdir -p "$work/cover/upper"

# ------------------------------------------------- what there is to attack

make_fleet "$world/f" 1
cd "$world/f"
expect 0 "$fb" -c "$conf" init
expect 0 "$fb" -c "$conf" download
first=$(ls repo/commits)
sed -n 1p "repo/runs/$first/manifest.json" >"$work/head"
sed -n 2p "repo/runs/$first/manifest.json" >"$work/machine"
sed 1,2d "repo/runs/$first/manifest.json" >"$work/tail"
mv machines "$world/machines.whole"

# What of the world is not the restore's target, nor where it notes things.
outside() {
	find "$world" \( -path "$world/out" -o -path "$world/tmp" \
		-o -path "$world/f/state" -o -path "$world/f/repo" \
		-o -path "$world/f/machines" -o -name '*.tar*' \) -prune -o \
		! -path "$world" ! -path "$world/f" \
		-printf '%p %y %m %u %g %n %s %T@ %l\n' | LC_ALL=C sort
	# The coverage of tests is noted in there, in directories of its own.
	[ "${FB_VARIANT:-}" = cov ] ||
		(cd "$work/cover/upper" && find . ! -path . ! -path './tmp*' \
			-printf 'written: %p %y\n')
	find "$work/cover/upper" -name 'canary*' -o -name 'evil*'
}

fresh() {
	rm -rf "$world/out" "$world/f/state/restores" "$world/f/machines"
	mkdir "$world/out"
	cp -a "$world/machines.whole" machines
}
fresh
outside >"$work/before"

# --------------------------------------------------------- what is forged

number=0
next_run() {
	number=$((number + 1))
	run=$(printf '21001231-000000000-%08x' $number)
	recipes=$(sed -n '/^recipes /,/^packs /p' "repo/commits/$first" |
		sed '1d;$d')
}

# store <kind> <file>: sets $recipe, $root, $size
store() {
	"$bin/scenario/forge" "$conf" store "$run" "$1" "$2" >"$work/stored" ||
		fail "forge: $1"
	read -r recipe root size <"$work/stored"
	recipes="$recipes $recipe"
}

# machine <jq program>: change the machine's line
machine() {
	jq -cS --arg recipe "${recipe:-}" --arg root "${root:-}" \
		--arg size "${size:-0}" "$1" "$work/now" >"$work/new"
	mv "$work/new" "$work/now"
}

volume() { # <name>: it is what was stored last
	machine "(.volumes[] | select(.name == \"$1\")) |= (.recipe = \$recipe |
		.root.digest = \$root | .size = (\$size | tonumber))"
}

begin() {
	next_run
	cp "$work/machine" "$work/now"
}

# Sign it: the head's, the machine's and the tail's lines as they are now.
sign() {
	mkdir "repo/runs/$run"
	cat "$work/head" "$work/now" "$work/tail" |
		sed "s/$first/$run/g" >"repo/runs/$run/manifest.json"
	echo 'fleetbak-volumes 1' >"repo/runs/$run/VOLUMES"
	# shellcheck disable=SC2086 # words
	"$bin/scenario/forge" "$conf" commit "$run" $recipes ||
		fail "forge: $run"
}

# attack <what> <exit statuses> <restore's arguments>...: it does what it
# does, in bounds, and nothing else was touched.
attacks=0
attack() {
	what=$1 statuses=$2
	shift 2
	# shellcheck disable=SC2086 # words
	status=$(status_of timeout 120 "$bin/scenario/peak" "$work/peak" \
		$inside "$fb" -c "$conf" restore --run "$run" "$@")
	case " $statuses " in
	*" $status "*) ;;
	*) fail "$what: exit $status instead of $statuses" ;;
	esac
	outside | diff "$work/before" - >"$work/touched" ||
		fail "$what: touched: $(head -20 "$work/touched")"
	[ "${FB_VARIANT:-debug}" != debug ] ||
		[ "$(cat "$work/peak")" -le 262144 ] ||
		fail "$what: $(cat "$work/peak") KiB"
	used=$(df --output=used -k "$world" | tail -1)
	[ "$used" -le 200000 ] || fail "$what: $used KiB written"
	if LC_ALL=C grep -q "$(printf '[\001-\010\013-\037\177]')" \
		"$work/stdout" "$work/stderr"; then
		fail "$what: control characters on the terminal"
	fi
	attacks=$((attacks + 1))
}

# ------------------------------------------------------------------ trees

# tree <what> <statuses for a directory> <in place>: members on stdin; into
# a directory, as a new machine, and over the one that is there.
tree() {
	"$bin/scenario/evil_tar" >"$world/evil.tar"
	begin
	store tree "$world/evil.tar"
	volume data
	sign
	attack "$1, into a directory" "$2" m1 --target "$world/out/t"
	fresh
	attack "$1, as new" "$2" m1 --as copy
	fresh
	attack "$1, in place" "$3" m1 --in-place --yes --volume data
	fresh
}

abs=$world/outside
tree "a parent" 14 14 <<-EOF
	f ../evil content
EOF
tree "a parent further in" 14 14 <<-EOF
	d a
	f a/../../evil content
EOF
tree "an absolute name" 14 14 <<-EOF
	f $abs/evil content
EOF
tree "an absolute name by pax" 14 14 <<-EOF
	x path=$abs/evil
	f harmless content
EOF
tree "names of all by pax" 0 0 <<-EOF
	g path=../../evil
	f harmless content
EOF
tree "a name with a NUL by pax" 0 0 <<-EOF
	x path=a%00/../../evil
	f harmless content
EOF
tree "through a symbolic link" 14 14 <<-EOF
	l a $abs
	f a/evil content
EOF
tree "through a relative link" 14 14 <<-EOF
	l a ../../../outside
	f a/canary content
EOF
tree "over a symbolic link" 0 14 <<-EOF
	l a $abs/canary
	f a content
EOF
tree "a directory that becomes a link" 1 14 <<-EOF
	d a
	f a/b content
	l a $abs
	f a/evil content
EOF
tree "a link that becomes a directory" 0 14 <<-EOF
	l a $abs
	d a
	f a/evil content
EOF
tree "the metadata of what a link shows" 1 14 <<-EOF
	l a $abs/canary
	d b
	l b $abs
EOF
tree "a hard link to something outside" 14 14 <<-EOF
	h a $abs/canary
	f a content
EOF
tree "a hard link upwards" 14 14 <<-EOF
	h a ../../outside/canary
EOF
tree "a hard link through a link" 14 14 <<-EOF
	l a $abs
	h b a/canary
EOF
tree "a hard link to a link" 0 14 <<-EOF
	l a $abs/canary
	h b a
	f b content
EOF
tree "a link with a long target by pax" 14 14 <<-EOF
	X linkpath=/ 70000
	l a x
	f a/evil content
EOF
tree "the root as a link" 14 14 <<-EOF
	l . $abs
	f evil content
EOF
tree "the root as a file" 14 14 <<-EOF
	f . content
EOF
tree "names twice" 0 14 <<-EOF
	f a one
	f a two
	p a
	f a three
	d a
EOF
tree "devices, fifos and what is written to them" 0 14 <<-EOF
	c a 1:3
	b b 7:0
	p c
	f a content
	f b content
	f c content
EOF
tree "all special bits" 0 0 <<-EOF
	f a content
	b b 7:0
	c c 1:1
	d d
	f d/a content
EOF
tree "types that nobody knows" 14 14 <<-EOF
	t a 7
	t b Z
	t c S
	t d M
EOF
tree "control characters" 0 0 <<-EOF
	f a%1b%5b2J%07 content
	f b%0ac content
	h d%1b%5b2J gone%1b%5b2J
EOF
tree "control characters that are refused" 14 14 <<-EOF
	f ../%1b%5b2J%07 content
EOF
tree "a file of 8 EiB" 14 14 <<-EOF
	n a 9223372036854775807
EOF
tree "a file of 15 EiB" 14 14 <<-EOF
	n a 17293822569102704640
EOF
tree "a size below nothing by pax" 14 14 <<-EOF
	x size=-5
	f a content
EOF
tree "a header of 50 MiB" 14 14 <<-EOF
	X comment= 50000000
	f a content
EOF
tree "a name of 50 MiB" 14 14 <<-EOF
	L 50000000
	f a content
EOF
tree "an attribute of 8 MiB" 14 14 <<-EOF
	X SCHILY.xattr.user.a= 8000000
	f a content
EOF
tree "attributes of the system" 0 0 <<-EOF
	x SCHILY.xattr.system.posix_acl_access=content
	f a content
	x SCHILY.xattr.trusted.overlay.opaque=y
	d b
	x SCHILY.acl.access=user::rwx,user:root:rwx:0,group::rwx,mask::rwx,other::---
	f c content
EOF
deep=$(printf '%2000s' '' | sed 's, ,a/,g')
tree "two thousand levels" 0 0 <<-EOF
	x path=${deep}b
	f a content
EOF
sparse=GNU.sparse.major=1%0aGNU.sparse.minor=0
tree "a sparse file of 8 EiB" 14 14 <<-EOF
	x $sparse%0aGNU.sparse.realsize=9223372036854775807
	f a 1%0a9223372036854775806%0a1%0a
EOF
tree "a sparse file with parts that overlap" 14 14 <<-EOF
	x $sparse%0aGNU.sparse.realsize=9000
	f a 2%0a4096%0a512%0a0%0a512%0a
EOF
ok "$attacks restores of trees that a trusted key signed"

# ------------------------------------------------------------- definitions

# definition <what> <statuses as new> <in place> <jq program>: m1's volumes are
# those of the lines on stdin, its tree `data` is evil.tar, its disk as it was.
definition() {
	mkdir -p "$world/tmp/def"
	{
		sed '/^volumes:/,$d' "$world/machines.whole/m1/machine.yaml"
		echo volumes:
		cat
	} >"$world/tmp/def/machine.yaml"
	cp "$world/machines.whole/m1/ctl" "$world/tmp/def/ctl"
	chmod 755 "$world/tmp/def/ctl"
	tar --format=pax --pax-option=delete=atime,delete=ctime -b 2 \
		-C "$world/tmp/def" -cf "$world/def.tar" ctl machine.yaml
	begin
	store tree "$world/evil.tar"
	volume data
	store definition "$world/def.tar"
	volume definition
	machine "$4"
	sign
	attack "$1, as new" "$2" m1 --as copy
	fresh
	attack "$1, in place" "$3" m1 --in-place --yes
	fresh
	mv machines/m1 "$world/tmp/gone"
	attack "$1, of a machine that is gone" "$3" m1 --in-place --yes
	fresh
	rm -rf "$world/tmp/gone"
}

evil() {
	"$bin/scenario/evil_tar" >"$world/evil.tar"
}

evil <<-EOF
	l a $abs
EOF
definition "a disk behind a link of a tree" 14 14 . <<-EOF
	  - {name: data, kind: tree, path: data}
	  - {name: root, kind: disk, path: data/a/evil}
EOF
definition "a disk through links and back" 2 2 . <<-EOF
	  - {name: data, kind: tree, path: data}
	  - {name: root, kind: disk, path: data/a/../evil}
EOF
definition "a tree behind a link of a tree" 14 14 \
	'.volumes |= [.[0], .[1], (.[0] | .name = "root")]' <<-EOF
	  - {name: data, kind: tree, path: data}
	  - {name: root, kind: tree, path: data/a/evil}
EOF
evil <<-EOF
	l a $abs/canary
EOF
definition "a disk that is a link in a tree" 14 14 . <<-EOF
	  - {name: data, kind: tree, path: data}
	  - {name: root, kind: disk, path: data/a}
EOF
definition "a disk that is the file of a tree" 0 0 . <<-EOF
	  - {name: data, kind: tree, path: data}
	  - {name: root, kind: disk, path: data/b}
EOF
truncate -s 8M "$world/outside/canary.img"
chmod 600 "$world/outside/canary.img"
outside >"$work/before"
if loop=$(losetup --show -f "$world/outside/canary.img" 2>/dev/null); then
	trap 'cd /; losetup -d "$loop"; umount -l "$work/root" "$work/cover" \
		"$world"; clear_work' EXIT
	evil <<-EOF
		b a $((0x$(stat -c %t "$loop"))):$((0x$(stat -c %T "$loop")))
	EOF
	definition "a disk that is a device in a tree" 14 14 . <<-EOF
		  - {name: data, kind: tree, path: data}
		  - {name: root, kind: disk, path: data/a}
	EOF
	sync
	outside | diff "$work/before" - >"$work/touched" ||
		fail "written to a device: $(cat "$work/touched")"
	losetup -d "$loop"
	trap 'cd /; umount -l "$work/root" "$work/cover" "$world"
		clear_work' EXIT
fi
ok "$attacks restores, with definitions that a trusted key signed"

# ------------------------------------------- manifests, recipes, catalogues

# To a directory only: they are the same to all.
attack_dir() { # <what> <statuses> [restore's arguments]...
	attack_dir_what=$1 attack_dir_statuses=$2
	shift 2
	attack "$attack_dir_what" "$attack_dir_statuses" m1 \
		--target "$world/out/t" "$@"
	fresh
}

edited() { # <what> <statuses> <sed program over the manifest's lines>
	begin
	sed "$3" "$work/machine" >"$work/now"
	sign
	attack_dir "$1" "$2"
}

edited "a machine named .." 14 's/"id":"m1"/"id":".."/'
edited "a machine with a slash" 14 's/"id":"m1"/"id":"..\/m1"/'
edited "a volume named .." 14 's/"name":"data"/"name":".."/'
edited "a volume with a slash" 14 's/"name":"data"/"name":"a\/..\/..\/b"/'
edited "an absolute volume" 14 's/"name":"data"/"name":"\/evil"/'
edited "a volume with a NUL" 14 's/"name":"data"/"name":"data\\u0000x"/'
edited "volumes twice" 14 's/"name":"data"/"name":"definition"/'
edited "control characters in a text" 14 's/"role":"web"/"role":"\\u001B[2J"/'
edited "a negative size" 14 's/"size":4194304/"size":-1/'
edited "a size of 8 EiB" 14 's/"size":4194304/"size":9223372036854775807/'
edited "a size of more" 14 's/"size":4194304/"size":18446744073709551616/'
edited "a tree that is a disk" 14 's/"kind":"tree"/"kind":"disk"/'
edited "a disk that is a tree" 14 's/"kind":"disk"/"kind":"tree"/'
edited "a machine a thousand deep" 14 \
	"s/\"labels\":{/&\"x\":$(printf '%1000s' '' | sed 's/ /[/g'),/"
begin
machine '.labels = ([range(100000; 180000) | { ("l\(.)"): "" }] | add)'
sign
attack_dir "eighty thousand labels" 0

# recipe_of <volume>: of the first run, as text, into $work/recipe
recipe_of() {
	recipe_id=$(jq -r --arg name "$1" \
		'.volumes[] | select(.name == $name) | .recipe' "$work/machine")
	cp "repo/recipes/$(printf %.2s "$recipe_id")/$recipe_id" "$work/recipe"
}

# forged_recipe <what> <statuses>: the disk's is $work/recipe
forged_recipe() {
	begin
	sed -i "s/^session .*/session $run/" "$work/recipe"
	recipe=$(sha256sum <"$work/recipe")
	recipe=${recipe%% *}
	mkdir -p "repo/recipes/$(printf %.2s "$recipe")"
	cp "$work/recipe" "repo/recipes/$(printf %.2s "$recipe")/$recipe"
	recipes="$recipes $recipe"
	size=$(sed -n 's/^size //p' "$work/recipe")
	sed "s/$recipe_id/$recipe/; s/\"size\":4194304/\"size\":$size/" \
		"$work/machine" >"$work/now"
	sign
	attack_dir "$1" "$2"
	recipe_of root
}

recipe_of root
run_1=$(sed -n '/^runs /{n;p;}' "$work/recipe") # <offset> <length> ...
length_1=$(echo "$run_1" | cut -d' ' -f2)
sed -i "s/^runs .*/runs 2/; /^runs /,\$!b; /^runs /n; c$run_1\\n$run_1\\nend" \
	"$work/recipe"
sed -i '/^end/,$d' "$work/recipe"
echo end >>"$work/recipe"
forged_recipe "runs that overlap" 14
sed -i 's/^size .*/size 1000/' "$work/recipe"
forged_recipe "runs past the end" 14
sed -i 's/^runs .*/runs 18446744073709551615/' "$work/recipe"
forged_recipe "more runs than there are" 14
sed -i 's/^packs .*/packs 16777216/' "$work/recipe"
forged_recipe "sixteen million packs that are not there" 14
sed -i "s/^\\(0 $length_1 0 [0-9]* \\)[0-9]* \\([0-9]*\\) .*/\\14294967295 \\2 4294967295/" \
	"$work/recipe"
forged_recipe "a run of four billion chunks" 14
sed -i "s/^0 $length_1 0 [0-9]* /0 $length_1 0 4294967000 /" "$work/recipe"
forged_recipe "a run beyond its pack" 14
sed -i 's/^size .*/size 9223372036854775807/' "$work/recipe"
forged_recipe "a disk of 8 EiB" 14
begin
yes "again and again" | head -c 400000000 >"$work/bomb.tar"
store disk "$work/bomb.tar"
rm "$work/bomb.tar"
volume root
sign
attack_dir "four hundred megabytes of one chunk" 17

# catalogue <what> <statuses> <restore's arguments>...: the lines on stdin
catalogue() {
	what=$1 statuses=$2
	shift 2
	{
		echo 'fleetbak-catalogue 1'
		cat
	} >"$work/catalogue.tar"
	begin
	store catalogue "$work/catalogue.tar"
	# data is the first of the volumes
	# shellcheck disable=SC2016 # jq's
	machine '.volumes[0].catalogue = { recipe: $recipe, root: $root,
		size: ($size | tonumber) }'
	sign
	attack "$what" "$statuses" m1 "$@"
	rm "$work/catalogue.tar"
	fresh
}
zeros='755 0 0 5 1.000000000 1.000000000 0 0'
to_dir="--target $world/out/t --volume data --path a"
# shellcheck disable=SC2086 # words
{
	catalogue "a member outside of the archive" 14 $to_dir <<-EOF
		f $zeros 9000000000 512 a
	EOF
	catalogue "a member at the end of all numbers" 14 $to_dir <<-EOF
		f $zeros 18446744073709551000 512 a
	EOF
	catalogue "members that are none" 14 $to_dir <<-EOF
		f $zeros 0 512 a/../../../evil
		f $zeros 512 512 a
	EOF
	long=$(printf '%4000s' '' | tr ' ' b)
	seq 80000 | sed "s/.*/h $zeros 512 512 a $long/" >"$work/lines"
	catalogue "eighty thousand hard links to one file" 14 $to_dir \
		<"$work/lines"
	if [ "${HOSTILE:-}" = all ]; then
		seq 12000000 | awk -v z="$zeros" \
			'{ printf "f %s %d 1 a\n", z, $1 % 50 * 1024 }' \
			>"$work/lines"
		catalogue "fifty members, twelve million times" 14 $to_dir \
			<"$work/lines"
	fi
	rm "$work/lines"
}
ok "$attacks restores, with manifests, recipes and catalogues"
