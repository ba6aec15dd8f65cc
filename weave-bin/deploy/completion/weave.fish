# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_weave_global_optspecs
    string join \n
end

function __fish_weave_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_weave_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_weave_using_subcommand
    set -l cmd (__fish_weave_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c weave -n "__fish_weave_needs_command" -f -a "status" -d 'what this peer knows, all of it or one page'
complete -c weave -n "__fish_weave_needs_command" -f -a "report" -d 'everything as JSON, what a Go template makes of it, or the status page'
complete -c weave -n "__fish_weave_needs_command" -f -a "connectivity" -d 'try the ways to peers, pods and Services, and say what to do'
complete -c weave -n "__fish_weave_needs_command" -f -a "top" -d 'connections, overlays and rates, read again each second'
complete -c weave -n "__fish_weave_needs_command" -f -a "connect" -d 'connect to more peers, or to these only'
complete -c weave -n "__fish_weave_needs_command" -f -a "forget" -d 'no longer try these peers'
complete -c weave -n "__fish_weave_needs_command" -f -a "prime" -d 'wait until addresses can be allocated'
complete -c weave -n "__fish_weave_needs_command" -f -a "rmpeer" -d 'take over the addresses of peers that are gone for good'
complete -c weave -n "__fish_weave_needs_command" -f -a "ps" -d 'who has which addresses; the bridge first'
complete -c weave -n "__fish_weave_needs_command" -f -a "attach" -d 'join a network namespace to the network'
complete -c weave -n "__fish_weave_needs_command" -f -a "detach" -d 'take these addresses from it, or all and its interface'
complete -c weave -n "__fish_weave_needs_command" -f -a "expose" -d 'join this host itself, by an address on the bridge'
complete -c weave -n "__fish_weave_needs_command" -f -a "hide" -d 'take addresses off the bridge again'
complete -c weave -n "__fish_weave_needs_command" -f -a "dns-add" -d 'name a container, or addresses that belong to none'
complete -c weave -n "__fish_weave_needs_command" -f -a "dns-remove" -d 'take names away again'
complete -c weave -n "__fish_weave_needs_command" -f -a "dns-args" -d 'print the options with which a container asks the name server'
complete -c weave -n "__fish_weave_needs_command" -f -a "dns-lookup" -d 'ask for the addresses of a name'
complete -c weave -n "__fish_weave_needs_command" -f -a "doctor" -d 'what is wrong on this host, why it matters, and what to type'
complete -c weave -n "__fish_weave_needs_command" -f -a "ipam" -d 'whose every address is and which are off, or take back what containers have'
complete -c weave -n "__fish_weave_needs_command" -f -a "reset" -d 'leave the network and remove every trace of it'
complete -c weave -n "__fish_weave_needs_command" -f -a "launch" -d 'start the daemon in the background'
complete -c weave -n "__fish_weave_needs_command" -f -a "stop" -d 'end the daemon; what is attached stays connected'
complete -c weave -n "__fish_weave_needs_command" -f -a "setup" -d 'install the CNI plugins on this host'
complete -c weave -n "__fish_weave_needs_command" -f -a "attach-bridge" -d 'join another bridge to the network, docker0 if none is named'
complete -c weave -n "__fish_weave_needs_command" -f -a "bridge-type" -d 'what the bridge is made of'
complete -c weave -n "__fish_weave_needs_command" -f -a "completion" -d 'print what completes these commands in a shell'
complete -c weave -n "__fish_weave_needs_command" -f -a "version" -d 'print the version'
complete -c weave -n "__fish_weave_needs_command" -f -a "help" -d 'print this'
complete -c weave -n "__fish_weave_needs_command" -f -a "weaver" -d 'run the daemon'
complete -c weave -n "__fish_weave_needs_command" -f -a "render" -d 'print the manifest for Kubernetes'
complete -c weave -n "__fish_weave_needs_command" -f -a "lab" -d 'Hosts as network namespaces of this machine, with real daemons, pods and packets'
complete -c weave -n "__fish_weave_needs_command" -f -a "npc" -d 'What network policies mean, asked of ordinary manifests and without a cluster, and what the controller of this node does about them'
complete -c weave -n "__fish_weave_needs_command" -f -a "weave-npc" -d 'run the policy controller'
complete -c weave -n "__fish_weave_using_subcommand status" -l json -d 'print JSON'
complete -c weave -n "__fish_weave_using_subcommand report" -s f -d 'a Go template over the report' -r
complete -c weave -n "__fish_weave_using_subcommand report" -l html -d 'the status page, one file for a browser'
complete -c weave -n "__fish_weave_using_subcommand connectivity" -l json -d 'print JSON'
complete -c weave -n "__fish_weave_using_subcommand top" -l json -d 'print JSON'
complete -c weave -n "__fish_weave_using_subcommand top" -l once -d 'one table, and an end'
complete -c weave -n "__fish_weave_using_subcommand top" -l interval -d 'seconds between readings'
complete -c weave -n "__fish_weave_using_subcommand connect" -l replace -d 'forget the peers that were given before'
complete -c weave -n "__fish_weave_using_subcommand ps" -l pods -d 'also the names of pods, where the runtime noted them'
complete -c weave -n "__fish_weave_using_subcommand ps" -l json -d 'print JSON'
complete -c weave -n "__fish_weave_using_subcommand attach" -l no-multicast-route -d 'give it no route to multicast groups'
complete -c weave -n "__fish_weave_using_subcommand expose" -s h -d 'name the address' -r
complete -c weave -n "__fish_weave_using_subcommand expose" -l without-masquerade -d 'leave source addresses as they are'
complete -c weave -n "__fish_weave_using_subcommand dns-add" -s h -d 'the full name' -r
complete -c weave -n "__fish_weave_using_subcommand dns-remove" -s h -d 'the full name' -r
complete -c weave -n "__fish_weave_using_subcommand dns-lookup" -l json -d 'print JSON'
complete -c weave -n "__fish_weave_using_subcommand doctor" -l json -d 'print JSON'
complete -c weave -n "__fish_weave_using_subcommand doctor" -l evidence -d 'print what was looked at instead of judging it'
complete -c weave -n "__fish_weave_using_subcommand doctor" -l from -d 'judge what was looked at before, from this file'
complete -c weave -n "__fish_weave_using_subcommand doctor" -l db-prefix -d 'where the state file is, if the daemon is down'
complete -c weave -n "__fish_weave_using_subcommand doctor" -l host-root -d 'where the host\'s / is seen, if the daemon is down'
complete -c weave -n "__fish_weave_using_subcommand ipam" -l json -d 'print JSON'
complete -c weave -n "__fish_weave_using_subcommand reset" -l force -d 'do not hand the addresses to another peer first'
complete -c weave -n "__fish_weave_using_subcommand reset" -l bridge-only -d 'remove the bridge and what joins it to other hosts only'
complete -c weave -n "__fish_weave_using_subcommand reset" -l cni -d 'also the CNI plugins and their configuration'
complete -c weave -n "__fish_weave_using_subcommand weaver" -l bpf-dir -d 'where BPF programs and maps are pinned; bpffs is mounted if needed [/sys/fs/bpf/weave]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l conn-limit -d 'most connections at a time; 0 is no limit [200]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l db-prefix -d 'the state file is PATHdata.db [/weavedb/weave]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l dns-domain -d 'domain whose names the name server answers for [weave.local.]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l dns-fallback-timeout -d 'how long each server of --resolv-conf has to answer [5s]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l dns-listen-address -d 'where the name server listens, over UDP and TCP [0.0.0.0:53]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l dns-ttl -d 'how long askers keep the answers [1]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l host -d 'address the mesh listens on [0.0.0.0]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l host-root -d 'where the host\'s / is seen, for its machine id [/]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l http-addr -d 'control HTTP: IP:PORT, a socket\'s absolute path, or empty for none [127.0.0.1:6784]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l ipalloc-cool-down -d 'how long a released address rests while there are others [0]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l ipalloc-default-subnet -d 'subnet of requests that name none; without it the whole range; two as for the range' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l ipalloc-init -d 'who starts the ring: consensus=N, seed=PEER_NAME,... or observer; else a vote' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l ipalloc-init-ipv6 -d 'who starts the IPv6 ring beside an IPv4 one; else as --ipalloc-init' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l ipalloc-range -d 'range of the pods\' addresses, or one IPv4 and one IPv6; without it none are allocated' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l log-format -d 'text or json; else WEAVE_LOG_FORMAT [text]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l log-level -d 'least important messages to log: debug, info, warning or error [info]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l metrics-addr -d 'metrics alone, over HTTP; as --http-addr' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l min-protocol-version -d 'lowest mesh protocol version to accept; 1 introduces itself in clear [2]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l mtu -d 'MTU of the network; else WEAVE_MTU, else 1376 or what the ways to peers allow' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l name -d 'this peer\'s name, as aa:bb:cc:dd:ee:ff; else remembered or derived' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l nickname -d 'name shown to people; else the host name' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l password -d 'encrypt connections with this password; else WEAVE_PASSWORD' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l password-file -d 'as --password, one a line: the first is used, all are accepted; read again on change' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l port -d 'mesh TCP port; the tunnel\'s UDP port is one more [6783]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l resolv-conf -d 'other name servers to ask, as /etc/resolv.conf has them; without it none' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l status-addr -d 'status HTTP, read only; as --http-addr' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l trusted-subnets -d 'networks whose frames need no encryption; mesh messages have it all the same' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l weave-bridge -d 'name of the bridge [weave]' -r
complete -c weave -n "__fish_weave_using_subcommand weaver" -l expect-npc -d 'leave it to a policy controller what reaches pods'
complete -c weave -n "__fish_weave_using_subcommand weaver" -l no-discovery -d 'connect to the peers given only'
complete -c weave -n "__fish_weave_using_subcommand weaver" -l no-dns -d 'run no name server'
complete -c weave -n "__fish_weave_using_subcommand weaver" -l no-fastdp -d 'forward frames in user space alone, by sleeve'
complete -c weave -n "__fish_weave_using_subcommand weaver" -l no-overlay -d 'join the mesh but forward no frames'
complete -c weave -n "__fish_weave_using_subcommand weaver" -l no-masq-local -d 'keep the source address of traffic to pods of this host'
complete -c weave -n "__fish_weave_using_subcommand weaver" -l print-peer-name -d 'print the peer name and end'
complete -c weave -n "__fish_weave_using_subcommand weaver" -l resume -d 'connect to the peers of the state file'
complete -c weave -n "__fish_weave_using_subcommand weaver" -l version -d 'print the version and end'
complete -c weave -n "__fish_weave_using_subcommand render" -l env -d 'set a variable on every container that reads it' -r
complete -c weave -n "__fish_weave_using_subcommand render" -l k8s-version -d 'for this version of Kubernetes, from 1.16 on' -r
complete -c weave -n "__fish_weave_using_subcommand render" -l password-secret -d 'take the password from Secret NAME, key NAME' -r
complete -c weave -n "__fish_weave_using_subcommand render" -l version -d 'tag of the images' -r
complete -c weave -n "__fish_weave_using_subcommand render" -l image -d 'image without its tag' -r
complete -c weave -n "__fish_weave_using_subcommand render" -l se-linux -d 'SELinux option of the pod, such as type=spc_t' -r
complete -c weave -n "__fish_weave_using_subcommand render" -l disable-npc -d 'without network policies'
complete -c weave -n "__fish_weave_using_subcommand render" -l static-pod -d 'one pod for a kubelet\'s manifest directory'
complete -c weave -n "__fish_weave_using_subcommand render" -l json -d 'JSON instead of YAML'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "run" -d 'Make a lab, probe everything, print what was found, remove the lab'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "up" -d 'Make a lab and leave it running'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "probe" -d 'Probe a running lab, as `run` does'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "exec" -d 'Run a command in a host (2) or a pod (2/1)'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "down" -d 'Remove a lab and all that is left of it'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "cut" -d 'Cut hosts off from the others; among themselves they stay connected'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "block" -d 'Let no packet of a UDP port through between two hosts'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "unblock" -d 'Undo blocks of a UDP port between two hosts'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "heal" -d 'Undo all cuts'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "kill" -d 'Kill a host\'s daemon with SIGKILL'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "start" -d 'Start a host\'s daemon'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "add-pod" -d 'Add a pod to a host through the CNI plugin'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "del-pod" -d 'Remove a pod through the CNI plugin'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "ping" -d 'Send echo requests between two places at a steady rate and count what is lost'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "stream" -d 'Send over TCP between two places and see when it flows and whether it stalls'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "rotate" -d 'Change the password of a mesh in three steps while every pair of hosts pings'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "restart" -d 'End and start a daemon many times under traffic and count what is lost'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "mesh" -d 'Start many daemons without data path and measure what the mesh costs'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "cluster" -d 'Run a Kubernetes cluster through its life: nodes and pods come and go, the API server is away'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "doctor" -d 'Plant faults on hosts and see whether the doctor names each and nothing else'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "policy" -d 'Make the hosts and pods of manifests and see which connections their policies let through'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "bench" -d 'Measure the overlay and the policies against the kernel\'s own means'
complete -c weave -n "__fish_weave_using_subcommand lab; and not __fish_seen_subcommand_from run up probe exec down cut block unblock heal kill start add-pod del-pod ping stream rotate restart mesh cluster doctor policy bench launch" -f -a "launch" -d 'Enter a namespace and become a command'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l hosts -d 'Number of hosts' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l pods -d 'Number of pods on each host' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l topology -d 'How hosts are cabled' -r -f -a "full\t'All hosts on one switch'
line\t'Each host only to the one before and the one after it'
star\t'All hosts only to host 1'"
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l ipalloc-range -d 'Range of the pods\' addresses' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l mtu -d 'MTU of the pods [default: the daemon\'s]' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l log-level -d 'Log level of the daemons' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l password -d 'Encrypt connections between daemons with this password' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l overlay -d 'Which overlays carry frames' -r -f -a "fastdp\t'Every host has both, and the better one is used'
sleeve\t'No host has the fast one'
mixed\t'On a switch every second host has sleeve alone; else every second cable lets no packet of the fast overlay through, so that hosts relay between the two'"
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l trusted-subnets -d 'Networks whose frames need no encryption; without a value those the hosts are cabled to' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l nat -d 'A host behind a router that translates its address, so that it can only dial out' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l underlay-mtu -d 'MTU of the cables [default: 1500]' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l loss -d 'Percent of the packets that each cable loses' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l wait -d 'Seconds after which a pair that has not answered counts as failed' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l dual-stack -d 'Give pods IPv6 addresses too, of `fd00:10:32::/64`'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l dns -d 'Run name servers; they ask those that HOST/resolv.conf in the lab\'s files names for the rest'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l black-hole -d 'Do not tell hosts of that MTU: larger packets vanish without an answer'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l keep -d 'Leave the lab running'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from run" -l json -d 'Print one JSON object instead of text'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l hosts -d 'Number of hosts' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l pods -d 'Number of pods on each host' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l topology -d 'How hosts are cabled' -r -f -a "full\t'All hosts on one switch'
line\t'Each host only to the one before and the one after it'
star\t'All hosts only to host 1'"
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l ipalloc-range -d 'Range of the pods\' addresses' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l mtu -d 'MTU of the pods [default: the daemon\'s]' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l log-level -d 'Log level of the daemons' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l password -d 'Encrypt connections between daemons with this password' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l overlay -d 'Which overlays carry frames' -r -f -a "fastdp\t'Every host has both, and the better one is used'
sleeve\t'No host has the fast one'
mixed\t'On a switch every second host has sleeve alone; else every second cable lets no packet of the fast overlay through, so that hosts relay between the two'"
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l trusted-subnets -d 'Networks whose frames need no encryption; without a value those the hosts are cabled to' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l nat -d 'A host behind a router that translates its address, so that it can only dial out' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l underlay-mtu -d 'MTU of the cables [default: 1500]' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l loss -d 'Percent of the packets that each cable loses' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l dual-stack -d 'Give pods IPv6 addresses too, of `fd00:10:32::/64`'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l dns -d 'Run name servers; they ask those that HOST/resolv.conf in the lab\'s files names for the rest'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from up" -l black-hole -d 'Do not tell hosts of that MTU: larger packets vanish without an answer'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from probe" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from probe" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from probe" -l wait -d 'Seconds after which a pair that has not answered counts as failed' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from probe" -l json -d 'Print one JSON object instead of text'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from exec" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from exec" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from down" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from down" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from cut" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from cut" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from block" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from block" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from block" -l port -d 'The UDP port: that of the fast overlay, or 6783 for sleeve' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from unblock" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from unblock" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from unblock" -l port -d 'The UDP port: that of the fast overlay, or 6783 for sleeve' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from heal" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from heal" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from kill" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from kill" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from start" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from start" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from add-pod" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from add-pod" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from del-pod" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from del-pod" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from ping" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from ping" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from ping" -l count -d 'Number of requests' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from ping" -l interval -d 'Milliseconds between requests' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from ping" -l json -d 'Print one JSON object instead of text'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from stream" -l name -d 'Prefix of the names of all namespaces; several labs need several names' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from stream" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from stream" -l seconds -d 'Seconds to send for' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from stream" -l json -d 'Print one JSON object instead of text'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from rotate" -l hosts -d 'Number of hosts' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from rotate" -l interval -d 'Milliseconds between requests of a pair' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from rotate" -l settle -d 'Seconds to wait after each step' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from rotate" -l name -d 'Prefix of the names of all namespaces' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from rotate" -l untrusted -d 'Encrypt the frames of pods too; otherwise hosts trust each other\'s networks'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from rotate" -l json -d 'Print one JSON object instead of text'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from restart" -l restarts -d 'How often the daemon is ended, by SIGTERM and SIGKILL in turn' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from restart" -l streams -d 'TCP streams between the pods' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from restart" -l interval -d 'Milliseconds between echo requests' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from restart" -l settle -d 'Milliseconds to wait after each restart' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from restart" -l overlay -d 'Which overlays carry frames. What sleeve carries stands still while a daemon does not run' -r -f -a "fastdp\t'Every host has both, and the better one is used'
sleeve\t'No host has the fast one'
mixed\t'On a switch every second host has sleeve alone; else every second cable lets no packet of the fast overlay through, so that hosts relay between the two'"
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from restart" -l name -d 'Prefix of the names of all namespaces' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from restart" -l encrypted -d 'Encrypt the frames of pods: they cross by sleeve'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from restart" -l json -d 'Print one JSON object instead of text'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from mesh" -l hosts -d 'Number of hosts' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from mesh" -l password -d 'Encrypt the connections with this password' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from mesh" -l wait -d 'Seconds after which a mesh that is not complete counts as failed' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from mesh" -l settle -d 'Seconds to leave the mesh alone before it is measured at rest' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from mesh" -l rest -d 'Seconds over which the mesh is measured at rest' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from mesh" -l log-level -d 'Log level of the daemons' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from mesh" -l name -d 'Prefix of the names of all namespaces' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from mesh" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from mesh" -l all-addresses -d 'Give every daemon the addresses of all others, not only of the first'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from mesh" -l json -d 'Print one JSON object instead of text'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from cluster" -l nodes -d 'Nodes at the beginning; one more joins later' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from cluster" -l pods -d 'Pods on each node' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from cluster" -l apiserver -d 'The API server: recorded (ours), real (the programs `KUBE_APISERVER` and ETCD name), or the URL of one that nobody else uses' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from cluster" -l token-file -d 'A file with the token of an administrator of the server at the URL' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from cluster" -l outage -d 'Seconds for which the API server is away while pods come and go' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from cluster" -l skip -d 'Leave out these steps' -r -f -a "drain\t'A node is drained, deleted, and comes back with what it remembers'
lose\t'A node is lost with its pods; another machine takes its name'
twin\t'A machine has the machine id of another'
outage\t'The API server is away'
absence\t'A daemon is away while a pod ends'
grow\t'A node joins'"
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from cluster" -l log-level -d 'Log level of the daemons' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from cluster" -l name -d 'Prefix of the names of all namespaces' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from cluster" -l state-dir -d 'Where the lab keeps its files [default: /run/NAME]' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from cluster" -l json -d 'Print one JSON object instead of text'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from doctor" -l fault -d 'Plant this fault only; may be given several times' -r -f -a "ip-forward-off\t'`net.ipv4.ip_forward` is 0'
forward-drop\t'A table drops what is forwarded'
input-drop\t'`INPUT` accepts replies and loopback only'
range-overlap\t'The host routes a part of the range elsewhere'
stale-cni\t'Chains and an interface of Flannel are there'
foreign-conflist\t'Another configuration comes before ours'
leaked-address\t'A pod\'s namespace goes without DEL'
api-unreachable\t'In a cluster, and nothing answers where the API server should be'
bridge-nf-off\t'In a cluster, and bridged packets pass no packet filter'
version-skew\t'A peer\'s status page has another version'
clock-skew\t'A peer\'s clock is two hours behind'
udp-blocked\t'UDP 6784 does not pass between two hosts'
tcp-blocked\t'TCP 6783 does not pass between two hosts'
daemon-down\t'The daemon was killed'
dead-peer\t'A host is gone and has addresses'
wrong-password\t'The spare machine has another password'
one-sided-encryption\t'The spare machine has no password'
duplicate-machine-id\t'The spare machine is a copy of another'
connection-limit\t'The spare machine may have one connection'
mtu-too-large\t'The spare machine\'s pods have larger packets than the network'
disk-full\t'The spare machine\'s disk is full'
ipv6-off\t'The spare machine has two ranges and no IPv6'
no-consensus\t'The spare machine cannot agree on a ring'
peer-down\t'The spare machine\'s peer has no daemon'
other-range\t'The spare machine has another range'
other-seed\t'The spare machine began a ring of its own'"
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from doctor" -l name -d 'Prefix of the names of all namespaces' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from doctor" -l json -d 'Print one JSON object instead of text'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from policy" -s f -l file -d 'Manifests with Namespaces, Nodes, Pods (with spec.nodeName and status.podIPs), NetworkPolicies and ClusterNetworkPolicies' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from policy" -l ports -d 'The ports to try, as 80/TCP,53/UDP [default: those that policies and pods name]' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from policy" -l steps -d 'Manifests that are applied one after the other on the live controllers' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from policy" -l wait -d 'Milliseconds after which a connection without an answer counts as closed' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from policy" -l restarts -d 'End and start all controllers this often, by SIGTERM and SIGKILL in turn, while all pairs send datagrams at the UDP ports and streams over the TCP ports go on' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from policy" -l name -d 'Prefix of the names of all namespaces' -r
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from policy" -l json -d 'Print one JSON object instead of pictures'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from bench" -f -a "overlay" -d 'Pod to pod across two hosts: our overlay, a kernel VXLAN made by hand, and plain routing'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from bench" -f -a "policy" -d 'Two pods of one host: our rules for some numbers of policies, and linear ones'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from bench" -f -a "cni" -d 'ADD and DEL of pods: our plugin, and bridge with host-local where they are installed'
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from launch" -l netns -d 'Path of the network namespace' -r -F
complete -c weave -n "__fish_weave_using_subcommand lab; and __fish_seen_subcommand_from launch" -l die-with-parent -d 'End when the process that launched this ends'
complete -c weave -n "__fish_weave_using_subcommand npc; and not __fish_seen_subcommand_from decide render diff status explain blocked rules" -f -a "decide" -d 'Say whether a connection is allowed and what decides that; exit code 1 if it is denied'
complete -c weave -n "__fish_weave_using_subcommand npc; and not __fish_seen_subcommand_from decide render diff status explain blocked rules" -f -a "render" -d 'Print the nft ruleset that enforces the policies on a node'
complete -c weave -n "__fish_weave_using_subcommand npc; and not __fish_seen_subcommand_from decide render diff status explain blocked rules" -f -a "diff" -d 'Print the connections that one set of manifests allows and another denies'
complete -c weave -n "__fish_weave_using_subcommand npc; and not __fish_seen_subcommand_from decide render diff status explain blocked rules" -f -a "status" -d 'Print how the controller of this node is'
complete -c weave -n "__fish_weave_using_subcommand npc; and not __fish_seen_subcommand_from decide render diff status explain blocked rules" -f -a "explain" -d 'Say whether the controller of this node allows a connection and why; exit code 1 if not'
complete -c weave -n "__fish_weave_using_subcommand npc; and not __fish_seen_subcommand_from decide render diff status explain blocked rules" -f -a "blocked" -d 'Print which connections were blocked on this node lately, and by what'
complete -c weave -n "__fish_weave_using_subcommand npc; and not __fish_seen_subcommand_from decide render diff status explain blocked rules" -f -a "rules" -d 'Print how often each rule of a policy decided about a connection of this node'
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from decide" -s f -l file -d 'Manifests (JSON or YAML) with Namespaces, Nodes, Pods, NetworkPolicies and ClusterNetworkPolicies; a directory stands for its files, - for standard input' -r -F
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from decide" -l from -d 'The client: NAMESPACE/POD or an IP address' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from decide" -l to -d 'The server: NAMESPACE/POD or an IP address' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from decide" -l port -d 'The port and protocol, as 80/TCP; or icmp' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from decide" -l ports -d 'The ports of the table [default: those that policies and pods name]' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from decide" -l with -d 'Further ends of the table: IP addresses' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from decide" -l all -d 'Every pod to every pod; with --from or --to only from or to that one'
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from decide" -l filter-own-node -d 'Hold pods to their egress rules also towards their own node'
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from decide" -l json -d 'Print a list of records instead of text'
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from render" -s f -l file -d 'Manifests (JSON or YAML) with Namespaces, Nodes, Pods, NetworkPolicies and ClusterNetworkPolicies; a directory stands for its files, - for standard input' -r -F
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from render" -l node -d 'The node whose rules are printed' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from render" -l filter-own-node -d 'Hold pods to their egress rules also towards their own node'
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from render" -l json -d 'Print an object with the ruleset as text instead of the text alone'
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from diff" -s f -l file -d 'The manifests before and after; each a file or a directory' -r -F
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from diff" -l ports -d 'The ports that are compared [default: those that policies and pods name]' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from diff" -l with -d 'Further ends besides pods: IP addresses' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from diff" -l filter-own-node -d 'Hold pods to their egress rules also towards their own node'
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from diff" -l json -d 'Print a list of records instead of text'
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from status" -l addr -d 'Its control address: IP:PORT or the path of a socket' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from status" -l json -d 'Print JSON instead of text'
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from explain" -l addr -d 'Its control address: IP:PORT or the path of a socket' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from explain" -l json -d 'Print a list of records instead of text'
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from blocked" -l minutes -d 'How far to look back' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from blocked" -l addr -d 'Its control address: IP:PORT or the path of a socket' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from blocked" -l json -d 'Print a list of records instead of text'
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from rules" -l addr -d 'Its control address: IP:PORT or the path of a socket' -r
complete -c weave -n "__fish_weave_using_subcommand npc; and __fish_seen_subcommand_from rules" -l json -d 'Print JSON instead of text'
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l control-addr -d 'address or socket that answers status, explain and the CNI plugin [127.0.0.1:6785]' -r
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l log-format -d 'text or json; else WEAVE_LOG_FORMAT. In json a blocked connection has its whole record [text]' -r
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l log-level -d 'debug, info, warning or error [debug]' -r
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l manifests -d 'take objects from the files of this directory instead of a cluster' -r
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l metrics-addr -d 'address of /metrics; empty is off [:6781]' -r
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l node-name -d 'this node; HOSTNAME if not given' -r
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l weave-bridge -d 'name of the bridge [weave]' -r
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l allow-mcast -d 'let packets to multicast groups pass [true]'
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l fail-closed -d 'let no new connection pass until policies are known, if a start finds no rules'
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l filter-own-node -d 'hold pods to their egress rules also towards their own node'
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l guard -d 'hold pods to their own MAC and IP addresses; needs the CNI plugin to tell them [true]'
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l keep-connections -d 'let connections go on that policies no longer allow'
complete -c weave -n "__fish_weave_using_subcommand weave-npc" -l log-detail -d 'say policies and reason behind each line about a blocked connection'
