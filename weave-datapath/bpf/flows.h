/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was decided for a frame a moment ago, for the next one between the same two addresses. Each
 * processor has its own entries, so nothing is shared and nothing is written for a frame that finds
 * one.
 *
 * Invariant: an entry is used only while every owner of an address and every table is what it was
 * when the decision was made. Whoever changes one raises a generation afterwards; whoever decides
 * reads the generations before. WEAVE_FLOW_JIFFIES bounds how long the decision goes unquestioned,
 * so that `seen` of the addresses in use keeps advancing.
 */
#ifndef WEAVE_FLOWS_H
#define WEAVE_FLOWS_H

#include "maps.h"

#define FLOWS_SHIFT 9
#define FLOW_JIFFIES 25		/* 25 to 250 ms, as the kernel ticks: see WEAVE_REFRESH_NS */

/* One cache line. An entry whose time is over says nothing. */
struct flow {
	__u64 destination, source;	/* addresses as in `macs` */
	__u64 tables, moves;		/* generations */
	__u64 until;			/* jiffies */
	__u32 from;			/* outer source of the frame; 0: from our bridge */
	__u32 vni;			/* of the frame when it leaves, or when it came */
	__u32 remote, local;		/* outer addresses when it leaves */
	__u32 device;			/* to leave through; 0: deliver */
	__u32 pad;
};

_Static_assert(sizeof(struct flow) == 64, "a flow fills a cache line");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << FLOWS_SHIFT);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

static __always_inline struct flow *flow_of(const struct frame *frame)
{
	__u64 mixed = frame->destination * 0x9e3779b97f4a7c15ULL +
		      frame->source * 0xc2b2ae3d27d4eb4fULL;
	__u32 index = mixed >> (64 - FLOWS_SHIFT);

	return bpf_map_lookup_elem(&flows, &index);
}

/* Whether what `flow` says holds for a frame that came from `from` with `vni`. */
static __always_inline int is_current(const struct flow *flow, const struct frame *frame,
				      __u32 from)
{
	__u64 *tables = generation(WEAVE_TABLES), *moves = generation(WEAVE_MOVES);

	return tables && moves && flow->destination == frame->destination &&
	       flow->source == frame->source && flow->from == from &&
	       flow->tables == *(volatile __u64 *)tables &&
	       flow->moves == *(volatile __u64 *)moves &&
	       (__s64)(flow->until - bpf_jiffies64()) > 0;
}

/*
 * Makes `flow` the entry for this frame, without saying what is to be done. To be called before
 * anything is looked up: the additions of nothing are barriers. It is unused until remember().
 */
static __always_inline void prepare(struct flow *flow, const struct frame *frame, __u32 from)
{
	__u64 *tables = generation(WEAVE_TABLES), *moves = generation(WEAVE_MOVES);

	if (!tables || !moves)
		return;
	flow->until = 0;
	flow->destination = frame->destination;
	flow->source = frame->source;
	flow->from = from;
	flow->tables = __sync_fetch_and_add(tables, 0);
	flow->moves = __sync_fetch_and_add(moves, 0);
}

/* The entry has been filled in and is good for the next frame. */
static __always_inline void remember(struct flow *flow)
{
	flow->until = bpf_jiffies64() + FLOW_JIFFIES;
}

#endif
