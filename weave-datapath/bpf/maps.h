/* SPDX-License-Identifier: Apache-2.0 */
/* The maps, and the steps both programs share. */
#ifndef WEAVE_MAPS_H
#define WEAVE_MAPS_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "weave.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weave_config);
} config SEC(".maps");

struct table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, WEAVE_HOPS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct weave_cell));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct table);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEAVE_MACS);
	__type(key, __u64);
	__type(value, struct weave_mac);
} macs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEAVE_GENERATIONS);
	__type(key, __u32);
	__type(value, __u64);
} generations SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, WEAVE_RING_BYTES);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEAVE_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 reason)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &reason);

	if (value)
		*value += 1;
}

static __always_inline int drop(__u32 reason)
{
	count(reason);
	return TC_ACT_SHOT;
}

static __always_inline __u64 *generation(__u32 of)
{
	return bpf_map_lookup_elem(&generations, &of);
}

/* Says that the owner of an address has changed: to be called after the change. */
static __always_inline void moved(void)
{
	__u64 *moves = generation(WEAVE_MOVES);

	if (moves)
		__sync_fetch_and_add(moves, 1);
}

/* The two addresses and the type of a frame, addresses as keys of `macs`. */
struct frame {
	__u64 destination;
	__u64 source;
	__u16 type;		/* as on the wire */
};

/*
 * Reads the Ethernet header. The wide loads keep the memory order of the bytes: the first byte of
 * an address is the lowest of its key (little-endian machines only, as the object file).
 */
static __always_inline int read_frame(struct __sk_buff *skb, struct frame *frame)
{
	void *data = (void *)(long)skb->data;

	if (data + 14 > (void *)(long)skb->data_end) {
		if (bpf_skb_pull_data(skb, 14))
			return -1;
		data = (void *)(long)skb->data;
		if (data + 14 > (void *)(long)skb->data_end)
			return -1;
	}
	frame->destination = *(__u32 *)data | (__u64)*(__u16 *)(data + 4) << 32;
	frame->source = *(__u16 *)(data + 6) | (__u64)*(__u32 *)(data + 8) << 16;
	frame->type = *(__u16 *)(data + 12);
	return 0;
}

static __always_inline int is_group(__u64 mac)
{
	return mac & 1;
}

static __always_inline void *current_table(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&table, &zero);
}

/*
 * Outer header for the next transmission through the VXLAN device, as Open vSwitch sets it: TTL 64,
 * TOS 0, DF, no UDP checksum.
 */
static __always_inline long set_tunnel(struct __sk_buff *skb, __u32 vni, __u32 remote,
				       __u32 local)
{
	struct bpf_tunnel_key key = {
		.tunnel_id = vni,
		.remote_ipv4 = remote,
		.local_ipv4 = local,
		.tunnel_ttl = 64,
	};

	return bpf_skb_set_tunnel_key(skb, &key, sizeof(key),
				      BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT);
}

/*
 * Sends a copy to every hop of the flood list but those at `except` (0: none). The tunnel metadata
 * is shared by all copies; that is right only because the VXLAN device has no queue.
 */
static __always_inline void copy_along(struct __sk_buff *skb, void *cells,
				       const struct weave_cell *list, __u32 except)
{
	__u32 first = list->first, hops = list->count;

	for (__u32 i = 0; i < WEAVE_MAX_HOPS; i++) {
		__u32 index = first + i;
		struct weave_cell *hop;

		if (i >= hops)
			return;
		hop = bpf_map_lookup_elem(cells, &index);
		if (!hop) {
			count(WEAVE_DROP_TREE);
			return;
		}
		if (hop->remote == except) {
			count(WEAVE_DROP_BOUNCE);
			continue;
		}
		if (set_tunnel(skb, hop->vni, hop->remote, hop->local) ||
		    bpf_clone_redirect(skb, hop->device, 0))
			count(WEAVE_DROP_ERROR);
		else
			count(WEAVE_COPIED);
	}
	if (hops > WEAVE_MAX_HOPS)
		count(WEAVE_DROP_TREE);
}

static __always_inline __u32 tap_device(void)
{
	__u32 zero = 0;
	struct weave_config *configured = bpf_map_lookup_elem(&config, &zero);

	return configured ? configured->tap : 0;
}

/*
 * Lets a frame into the bridge. One that came by a tunnel device beside ours enters by ours, so that
 * the bridge finds all that is remote at one port.
 */
static __always_inline int enter(const struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct weave_config *configured = bpf_map_lookup_elem(&config, &zero);

	if (!configured)
		return drop(WEAVE_DROP_NO_TABLE);
	return skb->ifindex == configured->tunnel ? TC_ACT_OK :
						    bpf_redirect(configured->tunnel, BPF_F_INGRESS);
}

static __always_inline long push_tag(struct __sk_buff *skb, enum weave_kind kind, __u32 id)
{
	return bpf_skb_vlan_push(skb, bpf_htons(WEAVE_TAG), kind << WEAVE_KIND_SHIFT | id);
}

/* Gives a frame of ours or of another peer to user space, for the peer `destination`. */
static __always_inline int hand_over(struct __sk_buff *skb, __u32 origin, __u32 destination,
				     int is_ours)
{
	__u32 tap = tap_device();

	if (!tap)
		return drop(WEAVE_DROP_NO_ROUTE);
	if (push_tag(skb, WEAVE_TAG_UNICAST, destination) ||
	    (!is_ours && push_tag(skb, WEAVE_TAG_RELAY, origin)))
		return drop(WEAVE_DROP_ERROR);
	count(WEAVE_HANDED);
	return bpf_redirect(tap, 0);
}

/*
 * Sends a copy along what is left of a tree: to each hop that the tunnel serves, and one to user
 * space if that serves some. The frame itself stays as it is.
 */
static __always_inline void spread(struct __sk_buff *skb, void *cells,
				   const struct weave_cell *list, __u32 origin, __u32 except)
{
	__u8 by_sleeve = list->flags & WEAVE_TREE_SLEEVE;
	__u32 tap;

	copy_along(skb, cells, list, except);
	if (!by_sleeve)
		return;
	tap = tap_device();
	if (!tap || push_tag(skb, WEAVE_TAG_FLOOD, origin)) {
		count(WEAVE_DROP_ERROR);
		return;
	}
	if (bpf_clone_redirect(skb, tap, 0))
		count(WEAVE_DROP_ERROR);
	else
		count(WEAVE_HANDED);
	if (bpf_skb_vlan_pop(skb))
		count(WEAVE_DROP_ERROR);
}

/* Notes that `source` is behind `origin`, whatever was known of it. */
static __always_inline void learn_remote(const struct frame *frame, __u32 origin)
{
	struct weave_mac *mac;
	__u64 now;

	if (is_group(frame->source))
		return;
	mac = bpf_map_lookup_elem(&macs, &frame->source);
	now = bpf_ktime_get_coarse_ns();
	if (!mac) {
		struct weave_mac remote = { .seen = now, .owner = origin };

		bpf_map_update_elem(&macs, &frame->source, &remote, BPF_ANY);
		moved();
		return;
	}
	if (mac->owner != origin) {
		mac->owner = origin;
		mac->seen = now;
		moved();
		count(WEAVE_MAC_MOVED);
	} else if (is_group(frame->destination) || now - mac->seen > WEAVE_REFRESH_NS) {
		mac->seen = now;	/* always for a flood: it is what a bridge may reflect */
	}
}

/*
 * Sends a frame for us along the tree of its origin, too, unless we know that it is for us alone.
 * Returns whether it was for us alone, or nobody is left on that tree.
 */
static __always_inline int spread_unless_local(struct __sk_buff *skb, const struct frame *frame,
					       void *cells, const struct weave_cell *from,
					       __u32 origin, __u32 except)
{
	struct weave_mac *mac = 0;

	if (!from->count && !from->flags)
		return 1;
	if (!is_group(frame->destination))
		mac = bpf_map_lookup_elem(&macs, &frame->destination);
	if (mac && mac->owner == WEAVE_LOCAL)
		return 1;
	spread(skb, cells, from, origin, except);
	return 0;
}

#endif
