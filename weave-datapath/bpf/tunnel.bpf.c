/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ingress of the VXLAN device: frames from other peers. What passes goes on into the bridge.
 */
#include "maps.h"

#define IPSEC_MARK 0x20000	/* "came through IPsec": must not leak into inner packets */

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
		return;
	}
	if (mac->owner != origin) {
		mac->owner = origin;
		mac->seen = now;
		count(WEAVE_MAC_MOVED);
	} else if (is_group(frame->destination) || now - mac->seen > WEAVE_REFRESH_NS) {
		mac->seen = now;	/* always for a flood: it is what a bridge may reflect */
	}
}

/* Hands a special frame to user space. */
static __always_inline int report(struct __sk_buff *skb, const struct bpf_tunnel_key *key)
{
	struct weave_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event)
		return drop(WEAVE_DROP_RING);
	event->vni = key->tunnel_id;
	event->remote = key->remote_ipv4;
	event->local = key->local_ipv4;
	event->length = skb->len;
	if (bpf_skb_load_bytes(skb, 0, event->head, WEAVE_HEAD))
		__builtin_memset(event->head, 0, WEAVE_HEAD);
	bpf_ringbuf_submit(event, 0);
	count(WEAVE_SPECIAL);
	return TC_ACT_SHOT;
}

/* Passes a frame of one peer for another on, with the VNI it came with. */
static __always_inline int relay(struct __sk_buff *skb, const struct weave_cell *to,
				 const struct bpf_tunnel_key *key)
{
	if (to->mode != WEAVE_FASTDP)
		return drop(WEAVE_DROP_NO_ROUTE);
	if (to->remote == key->remote_ipv4)
		return drop(WEAVE_DROP_BOUNCE);
	if (set_tunnel(skb, to, key->tunnel_id))
		return drop(WEAVE_DROP_ERROR);
	count(WEAVE_RELAYED);
	return bpf_redirect(to->device, 0);
}

/* A frame for us: on into the bridge, and along the tree of its origin unless we know its owner. */
static __always_inline int deliver(struct __sk_buff *skb, const struct frame *frame, void *cells,
				   const struct weave_cell *from, __u32 outer_source)
{
	struct weave_mac *mac = 0;

	if (from->count) {
		if (!is_group(frame->destination))
			mac = bpf_map_lookup_elem(&macs, &frame->destination);
		if (!mac || mac->owner != WEAVE_LOCAL)
			copy_along(skb, cells, from, outer_source);
	}
	count(WEAVE_DELIVERED);
	return TC_ACT_OK;
}

SEC("classifier")
int weave_tunnel(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {};
	struct weave_cell *from, *to;
	__u32 origin, destination;
	struct frame frame;
	void *cells;

	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0))
		return drop(WEAVE_DROP_NO_KEY);
	if (read_frame(skb, &frame))
		return drop(WEAVE_DROP_SHORT);
	cells = current_table();
	if (!cells)
		return drop(WEAVE_DROP_NO_TABLE);
	origin = key.tunnel_id & (WEAVE_IDS - 1);
	destination = key.tunnel_id >> 12 & (WEAVE_IDS - 1);
	from = bpf_map_lookup_elem(cells, &origin);
	to = bpf_map_lookup_elem(cells, &destination);
	if (!from || !to || from->mode == WEAVE_UNKNOWN || to->mode == WEAVE_UNKNOWN)
		return drop(WEAVE_DROP_UNKNOWN);
	if (from->mode == WEAVE_SELF)
		return drop(WEAVE_DROP_OWN);
	if (!(frame.source | frame.destination) && !frame.type)
		return to->mode == WEAVE_SELF ? report(skb, &key) : drop(WEAVE_DROP_ALIEN);

	if (skb->mark & IPSEC_MARK)
		skb->mark &= ~IPSEC_MARK;
	if (to->mode != WEAVE_SELF)
		return relay(skb, to, &key);
	learn_remote(&frame, origin);
	return deliver(skb, &frame, cells, from, key.remote_ipv4);
}
