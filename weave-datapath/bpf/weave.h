/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel programs and user space agree on. The Rust side is src/bpf/abi.rs, which checks
 * every size and offset. Change any of this and WEAVE_LAYOUT must change with it: pinned maps of
 * another layout are replaced, not read.
 */
#ifndef WEAVE_H
#define WEAVE_H

#include <linux/types.h>

#define WEAVE_LAYOUT 3

/* Map sizes; user space may override the size of `macs` before it is created. */
#define WEAVE_MACS 32768
#define WEAVE_RING_BYTES 65536

/*
 * `config`: array of one. Written by user space before the programs are attached.
 */
struct weave_config {
	__u32 layout;		/* WEAVE_LAYOUT; written last */
	__u32 datapath;		/* ifindex of vethwe-datapath, beside the bridge */
	__u32 tunnel;		/* ifindex of the VXLAN device */
	__u32 tap;		/* ifindex of the TAP device of sleeve; 0: there is none */
	__u32 hook;		/* how the programs are attached: 1 TCX, 2 clsact */
	__u32 pad;
	__u64 object;		/* hash of the object file the programs came from */
	__u8 datapath_mac[8];	/* addresses of the two devices, zero-padded: with the */
	__u8 tunnel_mac[8];	/* indices they tell one incarnation from the next */
};

/*
 * `table`: array of one inner array of cells, swapped whole, so that a packet sees the forwarding
 * state of one moment. Cells 0..4095 are the short ids; WEAVE_OWN is this peer's own flood list;
 * the hops of all flood lists follow.
 */
#define WEAVE_IDS 4096
#define WEAVE_OWN WEAVE_IDS
#define WEAVE_HOPS (WEAVE_OWN + 1)

/* Copies made of one broadcast; longer lists are cut and counted. */
#define WEAVE_MAX_HOPS 512

enum weave_mode {
	WEAVE_UNKNOWN = 0,	/* nobody owns the short id */
	WEAVE_SELF = 1,		/* this peer */
	WEAVE_FASTDP = 2,	/* through the tunnel */
	WEAVE_NO_ROUTE = 3,	/* known, but no way leads there */
	WEAVE_SLEEVE = 4,	/* through user space, that is the TAP device */
};

struct weave_cell {
	__u64 name;		/* peer name, for user space */
	__u32 vni;		/* VNI of frames of ours for this peer, or of this copy */
	__u32 remote;		/* underlay address of the next hop, host byte order */
	__u32 local;		/* our underlay address, host byte order */
	__u32 device;		/* ifindex of the VXLAN device to leave through */
	__u32 first;		/* flood list: index of its first cell */
	__u16 count;		/* flood list: number of cells */
	__u8 mode;		/* enum weave_mode */
	__u8 flags;		/* flood list: WEAVE_TREE_SLEEVE */
};

#define WEAVE_TREE_SLEEVE 1	/* there are hops that user space serves: one copy goes there */

/*
 * Frames to and from user space carry an 802.1ad tag that says whose they are. Its control word:
 * kind << 13 | short id.
 */
#define WEAVE_TAG 0x88a8
#define WEAVE_KIND_SHIFT 13

enum weave_kind {
	WEAVE_TAG_UNICAST = 0,	/* out: for this peer; in: of this origin, for us */
	WEAVE_TAG_FLOOD = 1,	/* out: along the tree of this origin */
	WEAVE_TAG_RELAY = 2,	/* of this origin; a second tag of kind 0 names the peer it is for */
};

/*
 * `macs`: LRU hash from a MAC address (6 bytes in memory order, then two zero bytes).
 */
#define WEAVE_LOCAL 0x10000	/* owner: behind our own bridge */

struct weave_mac {
	__u64 seen;		/* monotonic ns, advanced when older than WEAVE_REFRESH_NS */
	__u32 owner;		/* short id, or WEAVE_LOCAL */
	__u32 pad;
};

#define WEAVE_REFRESH_NS 250000000ULL	/* 250 ms: well below WEAVE_STALE_NS */
#define WEAVE_STALE_NS 1000000000ULL	/* a silent remote owner may be replaced */
#define WEAVE_ECHO_NS 100000000ULL	/* so soon after a flood an announcement is its reflection */

/* Answers to frames too large for the path that each processor gives in 25 ticks of the kernel. */
#define WEAVE_ANSWERS 32

/*
 * `generations`: array of what invalidates decisions that were made earlier. Each is raised after
 * the change, by one writer alone.
 */
enum weave_generation {
	WEAVE_TABLES,		/* user space has changed `table` or `macs` */
	WEAVE_MOVES,		/* a program has changed the owner of an address */
	WEAVE_GENERATIONS
};

/*
 * `events`: ring buffer of special frames.
 */
#define WEAVE_HEAD 24

struct weave_event {
	__u32 vni;
	__u32 remote;		/* outer source, host byte order */
	__u32 local;		/* outer destination, host byte order */
	__u32 length;		/* of the inner frame */
	__u8 head[WEAVE_HEAD];	/* its first bytes */
};

/*
 * `counters`: per-CPU array, indexed by what became of a frame.
 */
enum weave_counter {
	WEAVE_SENT,		/* from the bridge, to one peer */
	WEAVE_FLOODED,		/* from the bridge, along our tree */
	WEAVE_DELIVERED,	/* from the tunnel, into the bridge */
	WEAVE_RELAYED,		/* from the tunnel, to the next hop of its peer */
	WEAVE_COPIED,		/* copies made for trees */
	WEAVE_HANDED,		/* to user space, which sends it on by sleeve */
	WEAVE_TAKEN,		/* from user space, which received it by sleeve */
	WEAVE_SPECIAL,		/* special frames handed to user space */
	WEAVE_TOO_BIG,		/* answers that tell a sender what the path carries */
	WEAVE_MAC_MOVED,	/* an address changed its owner */
	WEAVE_DROP_SHORT,	/* no complete Ethernet header */
	WEAVE_DROP_ZERO,	/* from the bridge with zero addresses */
	WEAVE_DROP_STP,		/* spanning tree stays on its host */
	WEAVE_DROP_CONFLICT,	/* from the bridge, but the source is remote */
	WEAVE_DROP_LOCAL,	/* from the bridge, but the destination is local */
	WEAVE_DROP_NO_TABLE,	/* user space has not written a table */
	WEAVE_DROP_NO_ROUTE,	/* no way to the peer */
	WEAVE_DROP_NO_HOPS,	/* nobody to flood to */
	WEAVE_DROP_NO_KEY,	/* no tunnel metadata */
	WEAVE_DROP_UNKNOWN,	/* origin or destination is nobody's short id */
	WEAVE_DROP_OWN,		/* a frame of ours came back */
	WEAVE_DROP_BOUNCE,	/* would go back to where it came from */
	WEAVE_DROP_RING,	/* special frame, but the ring is full */
	WEAVE_DROP_ALIEN,	/* special frame for another peer */
	WEAVE_DROP_TREE,	/* a tree longer than WEAVE_MAX_HOPS or than its cells */
	WEAVE_DROP_ANSWER,	/* answers of WEAVE_TOO_BIG beyond WEAVE_ANSWERS */
	WEAVE_DROP_ERROR,	/* a kernel helper refused */
	WEAVE_COUNTERS
};

#endif
