//! The usage text.

/// What `weave help` prints.
pub(super) const TEXT: &str = "\
Usage: weave [--local] COMMAND

  weave status [targets | connections | peers | dns | ipam] [--json]
  weave report [-f TEMPLATE]
  weave connect [--replace] PEER...
  weave forget PEER...
  weave prime
  weave rmpeer PEER_NAME...
  weave ps [ID...] [--json]
  weave attach [ADDR...] TARGET [--no-multicast-route]
  weave detach [ADDR...] TARGET
  weave expose [ADDR...] [-h FQDN] [--without-masquerade]
  weave hide [ADDR...]
  weave dns-add [IP...] ID [-h FQDN] | IP... -h FQDN
  weave dns-remove [IP...] ID [-h FQDN] | IP... -h FQDN
  weave dns-lookup NAME [--json]
  weave reset [--force] [--bridge-only | --cni[=ROOT]] [--db-prefix=PATH] [--bpf-dir=DIR]
  weave launch [--log-file=FILE] [FLAG...] [PEER...]
  weave stop [--db-prefix=PATH]
  weave setup                          install the CNI plugins on this host
  weave bridge-type
  weave version
  weave help

  weave weaver [FLAG...] [PEER...]     run the daemon
  weave render [OPTION...]             print the manifest for Kubernetes
  weave lab run | up | exec | down     try the network on this machine
  weave npc decide | render | diff     ask what network policies mean
  weave npc status | explain | blocked what the policy controller of this host does
  weave weave-npc [FLAG...]            run the policy controller

PEER    host or address, with an optional port: HOST[:PORT]
ADDR    [ip:]CIDR, net:CIDR or net:default
TARGET  process id, name (ip netns) or path of a network namespace
ID      a container, as it is known to whoever gave it an address
FQDN    a full name in the domain of the name server, such as web.weave.local

Commands talk to the daemon at WEAVE_HTTP_ADDR (127.0.0.1:6784).";
