/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ingress of the VXLAN devices: frames from other peers. What passes goes on into the bridge. There is
 * one device for our port, and one beside it for each other port that peers are dialled at.
 */
#include "flows.h"
#include "toobig.h"

#define IPSEC_MARK 0x20000	/* "came through IPsec": must not leak into inner packets */

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

/* Does with a frame what `flow` says: into the bridge, or to the next hop with the VNI it has. */
static __always_inline int forward(struct __sk_buff *skb, const struct flow *flow)
{
	__u32 device = flow->device;

	if (skb->mark & IPSEC_MARK)
		skb->mark &= ~IPSEC_MARK;
	if (!device) {
		count(WEAVE_DELIVERED);
		return enter(skb);
	}
	if (set_tunnel(skb, flow->vni, flow->remote, flow->local))
		return drop(WEAVE_DROP_ERROR);
	count(WEAVE_RELAYED);
	return bpf_redirect(device, 0);
}

/* Passes a frame of one peer for another on. */
static __always_inline int relay(struct __sk_buff *skb, const struct weave_cell *to,
				 const struct bpf_tunnel_key *key, __u32 origin, __u32 destination,
				 struct flow *flow)
{
	if (to->mode == WEAVE_SLEEVE)
		return hand_over(skb, origin, destination, 0);
	if (to->mode != WEAVE_FASTDP)
		return drop(WEAVE_DROP_NO_ROUTE);
	if (to->remote == key->remote_ipv4)
		return drop(WEAVE_DROP_BOUNCE);
	flow->remote = to->remote;
	flow->local = to->local;
	flow->device = to->device;
	remember(flow);
	return forward(skb, flow);
}

SEC("classifier")
int weave_tunnel(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {};
	struct weave_cell *from, *to;
	__u32 origin, destination;
	struct frame frame;
	struct flow *flow;
	void *cells;

	/*
	 * The driver puts metadata on all that comes from the network. What has none was redirected
	 * to our device by another program of ours, which has done all there is to do.
	 */
	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0))
		return enter(skb);
	if (read_frame(skb, &frame))
		return drop(WEAVE_DROP_SHORT);
	flow = flow_of(&frame);
	if (!flow)
		return drop(WEAVE_DROP_ERROR);
	if (flow->vni == key.tunnel_id && is_current(flow, &frame, key.remote_ipv4))
		return forward(skb, flow);
	prepare(flow, &frame, key.remote_ipv4);
	flow->vni = key.tunnel_id;
	cells = current_table();
	if (!cells)
		return drop(WEAVE_DROP_NO_TABLE);
	origin = key.tunnel_id & (WEAVE_IDS - 1);
	destination = key.tunnel_id >> 12 & (WEAVE_IDS - 1);
	from = bpf_map_lookup_elem(cells, &origin);
	to = bpf_map_lookup_elem(cells, &destination);
	if (!from || !to || from->mode == WEAVE_UNKNOWN || to->mode == WEAVE_UNKNOWN)
		return drop(WEAVE_DROP_UNKNOWN);
	if (is_answer(skb))
		return answer(skb, from, origin, destination);
	if (from->mode == WEAVE_SELF)
		return drop(WEAVE_DROP_OWN);
	if (!(frame.source | frame.destination) && !frame.type)
		return to->mode == WEAVE_SELF ? report(skb, &key) : drop(WEAVE_DROP_ALIEN);

	if (skb->mark & IPSEC_MARK)
		skb->mark &= ~IPSEC_MARK;
	if (to->mode != WEAVE_SELF)
		return relay(skb, to, &key, origin, destination, flow);
	learn_remote(&frame, origin);
	if (spread_unless_local(skb, &frame, cells, from, origin, key.remote_ipv4) &&
	    !is_group(frame.destination)) {
		flow->device = 0;
		remember(flow);
	}
	count(WEAVE_DELIVERED);
	return enter(skb);
}

