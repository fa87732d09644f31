#!/bin/sh
# Runs in a throw-away machine as root, with a kernel that has quotas. Arguments: the directory of hoist, hoistd and
# hoist-runtime, one with a static busybox, and one with docker's client or "". Puts data roots on ext4 and xfs with and without project
# quotas; sizes of volumes and of writable layers hold on each. The last line counts.
set -u

programs=$1
busybox=$2
docker=$3
export DOCKER_HOST=unix:///run/quota.sock DOCKER_CLI_HINTS=false
passed=0
failed=0

# check NAME COMMAND...: it succeeds.
check() {
    label=$1
    shift
    if "$@" > /tmp/out 2>&1; then
        passed=$((passed + 1))
        echo "ok $filesystem: $label"
    else
        failed=$((failed + 1))
        echo "FAILED $filesystem: $label: $*"
        sed 's/^/    /' /tmp/out
    fi
}

# says TEXT COMMAND...: it prints something with this pattern, whatever its status.
says() {
    text=$1
    shift
    "$@" > /tmp/said 2>&1
    cat /tmp/said
    grep -q -- "$text" /tmp/said
}

# silent COMMAND...: it succeeds and prints nothing.
silent() {
    "$@" > /tmp/said 2>&1 && ! [ -s /tmp/said ]
}

# fails COMMAND...: it does not succeed.
fails() {
    ! "$@"
}

start() {
    "$programs/hoistd" -H "$DOCKER_HOST" --data-root "$place/data" --exec-root /run/quota --pidfile /run/quota.pid \
        > "/tmp/hoistd.log" 2>&1 &
    daemon=$!
    tries=0
    until "$programs/hoist" version > /dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || break
        sleep 0.2
    done
}

stop() {
    kill "$daemon"
    wait "$daemon"
}

# sizes CLIENT HOW: with one client; HOW is the word of what holds the sizes.
sizes() {
    client=$1
    how=$2
    run="$client run --rm --network none"
    full='Disk quota exceeded\|No space left on device'
    check "volume create ($client)" "$client" volume create --opt size=4m small
    check "what holds it is shown" says "$how" "$client" volume inspect small
    check "what fits" $run -v small:/s busybox dd if=/dev/zero of=/s/fits bs=64k count=40
    check "df shows the size" says ' 4[0-9][0-9][0-9] ' $run -v small:/s busybox df -kP /s
    check "what is too much" says "$full" $run -v small:/s busybox dd if=/dev/zero of=/s/more bs=64k count=60
    check "use is shown" says 'small *0 *[34]' "$client" system df -v
    check "the image's files count" says 'o space left on device\|isk quota exceeded\|uota exceeded' \
        $run --mount type=volume,src=tiny,dst=/large,volume-opt=size=1m large true
    check "none of them stay" silent $run --mount type=volume,src=tiny,dst=/x,volume-nocopy busybox ls -A /x
    check "a volume is filled as any other" $run --mount type=volume,src=filled,dst=/large,volume-opt=size=8m large cmp /large/a /again/a
    check "a file that is too large is not copied in" fails sh -c "$client create --name too -v filled:/f busybox > /dev/null &&
        $client cp /tmp/toolarge too:/f/x"
    "$client" rm too > /dev/null
    check "the writable layer" says "$full" $run --storage-opt size=4m busybox dd if=/dev/zero of=/big bs=64k count=100
    check "it takes what fits" "$client" run --name layer --network none --storage-opt size=4m busybox dd if=/dev/zero of=/big bs=64k count=40
    check "what holds it is shown" says "$how" "$client" inspect -f '{{json .GraphDriver.Data}}' layer
    check "its files stay" "$client" cp layer:/big /tmp/big
    check "all of them" [ "$(stat -c %s /tmp/big)" = 2621440 ]
    check "removal" "$client" rm layer
    check "removal of volumes" "$client" volume rm small tiny filled
}

mkdir -p /tmp/image/bin /tmp/image/large /tmp/image/again
cp "$busybox/busybox" /tmp/image/bin/busybox
for name in sh dd df ls cat cmp true; do
    ln -sf busybox "/tmp/image/bin/$name"
done
tar -C /tmp/image -cf /tmp/busybox.tar bin
dd if=/dev/urandom of=/tmp/image/large/a bs=64k count=48 2> /dev/null
cp /tmp/image/large/a /tmp/image/again/a
head -c 9000000 /dev/zero > /tmp/toolarge
tar -C /tmp/image -cf /tmp/large.tar .

for module in loop quota_v2 overlay erofs xfs; do
    modprobe "$module" 2> /dev/null
done
for filesystem in ext4-with-quotas xfs-with-quotas ext4-without-quotas; do
    place=/mnt/$filesystem
    mkdir -p "$place"
    truncate -s 400M "/var/$filesystem"
    how='project quota [0-9]'
    case $filesystem in
    ext4-with-quotas) mkfs.ext4 -q -O quota,project -E quotatype=prjquota "/var/$filesystem" && mount -o loop,prjquota "/var/$filesystem" "$place" ;;
    xfs-with-quotas) mkfs.xfs -q "/var/$filesystem" && mount -o loop,prjquota "/var/$filesystem" "$place" ;;
    *) how='ext4 image' && mkfs.ext4 -q "/var/$filesystem" && mount -o loop "/var/$filesystem" "$place" ;;
    esac || { echo "skipped: $filesystem cannot be mounted" && continue; }
    start
    check "images" sh -c "'$programs/hoist' import -c 'CMD [\"sh\"]' - busybox < /tmp/busybox.tar"
    check "images" sh -c "'$programs/hoist' import -c 'CMD [\"sh\"]' - large < /tmp/large.tar"
    sizes "$programs/hoist" "$how"
    [ -z "$docker" ] || sizes "$docker/docker" "$how"
    # A limit outlives the daemon, and every project is another's.
    "$programs/hoist" volume create -o size=2m one > /tmp/one
    "$programs/hoist" volume create -o size=3m two > /tmp/two
    stop
    start
    full='Disk quota exceeded\|No space left on device'
    check "after a start of the daemon" says "$full" "$programs/hoist" run --rm --network none -v one:/s busybox dd if=/dev/zero of=/s/x bs=64k count=40
    check "others have their own" "$programs/hoist" run --rm --network none -v two:/s busybox dd if=/dev/zero of=/s/x bs=64k count=40
    check "backup" sh -c "'$programs/hoist' volume export two - | '$programs/hoist' volume import other -"
    check "clone" "$programs/hoist" volume clone two twin
    check "clone is limited as well" says "$how" "$programs/hoist" volume inspect twin
    stop
    tail -n 3 /tmp/hoistd.log | sed 's/^/    # /'
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
