/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Egress of the VXLAN device, which is a port of the bridge: frames that the bridge sends towards
 * other hosts. As a port the device costs a frame no softirq on its way, and lets pods leave room for
 * the outer headers (the bridge tells its ports how much the neediest of them wants).
 */
#include "flows.h"

#define STP 0x0000c28001ULL	/* 01:80:c2:00:00:00 */
#define TYPE_ARP 0x0608		/* 0x0806 on the wire */

/* The shortest form of a tunnel key: VNI and remote address. What is not there is cheap to clear. */
#define KEY_START __builtin_offsetof(struct bpf_tunnel_key, remote_ipv6[1])

struct arp {
	__u16 hardware, protocol;
	__u8 hardware_len, protocol_len;
	__u16 operation;
	__u8 sender_mac[6], sender_ip[4];
	__u8 target_mac[6], target_ip[4];
};

/* An ARP packet in which the source of the frame states an address of its own to everyone. */
static __always_inline int is_announcement(struct __sk_buff *skb, const struct frame *frame)
{
	struct arp arp;
	__u64 sender;

	if (frame->type != TYPE_ARP || bpf_skb_load_bytes(skb, 14, &arp, sizeof(arp)))
		return 0;
	sender = (__u64)*(__u16 *)arp.sender_mac |
		 (__u64)*(__u16 *)(arp.sender_mac + 2) << 16 |
		 (__u64)*(__u16 *)(arp.sender_mac + 4) << 32;
	return sender == frame->source && arp.protocol == 8 /* IPv4 */ &&
	       *(__u16 *)arp.sender_ip == *(__u16 *)arp.target_ip &&
	       *(__u16 *)(arp.sender_ip + 2) == *(__u16 *)(arp.target_ip + 2);
}

/*
 * Notes that the source is behind our bridge. An address that a peer uses is taken over only if it
 * announces itself here, or its owner has gone silent; else this is a reflection of the peer's own
 * frame or a duplicate address, and the answer is no.
 */
static __always_inline int learn_local(struct __sk_buff *skb, const struct frame *frame)
{
	struct weave_mac *mac = bpf_map_lookup_elem(&macs, &frame->source);
	__u64 now = bpf_ktime_get_coarse_ns();
	__u64 age;

	if (!mac) {
		struct weave_mac local = { .seen = now, .owner = WEAVE_LOCAL };

		bpf_map_update_elem(&macs, &frame->source, &local, BPF_ANY);
		moved();
		return 1;
	}
	age = now - mac->seen;
	if (mac->owner == WEAVE_LOCAL) {
		if (age > WEAVE_REFRESH_NS)
			mac->seen = now;
		return 1;
	}
	if (age < WEAVE_STALE_NS && !(age >= WEAVE_ECHO_NS && is_announcement(skb, frame)))
		return 0;
	mac->owner = WEAVE_LOCAL;
	mac->seen = now;
	moved();
	count(WEAVE_MAC_MOVED);
	return 1;
}

enum way { FRESH, ADDRESSED, REFLECTED };

/*
 * What tunnel metadata says of a frame. A copy or a relayed frame has the way it goes written there.
 * A frame that the bridge sends back where it came from has the way it came: to us, from the remote
 * end. An ARP reply of the host's own has the VNI of the request, to us too, but no source address
 * (iptunnel_metadata_reply), which reads as no remote end: its way is still to be found.
 */
static __always_inline enum way way_of(const struct bpf_tunnel_key *key)
{
	__u32 destination = key->tunnel_id >> 12 & (WEAVE_IDS - 1);
	struct weave_cell *cell;
	void *cells = current_table();

	if (!cells)
		return REFLECTED;
	cell = bpf_map_lookup_elem(cells, &destination);
	if (cell && cell->mode != WEAVE_SELF)
		return ADDRESSED;
	return key->remote_ipv4 ? REFLECTED : FRESH;
}

/* Sends a frame into the tunnel as `flow` says. */
static __always_inline int send(struct __sk_buff *skb, const struct flow *flow)
{
	__u32 device = flow->device;

	if (set_tunnel(skb, flow->vni, flow->remote, flow->local))
		return drop(WEAVE_DROP_ERROR);
	count(WEAVE_SENT);
	return device == skb->ifindex ? TC_ACT_OK : bpf_redirect(device, 0);
}

SEC("classifier")
int weave_bridge(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key;
	struct weave_mac *mac = 0;
	struct flow *flow;
	struct weave_cell *cell;
	struct frame frame;
	void *cells;
	__u32 index;

	if (!bpf_skb_get_tunnel_key(skb, &key, KEY_START, 0)) {
		switch (way_of(&key)) {
		case ADDRESSED:
			return TC_ACT_OK;
		case REFLECTED:
			return drop(WEAVE_DROP_CONFLICT);
		case FRESH:
			break;
		}
	}
	if (read_frame(skb, &frame))
		return drop(WEAVE_DROP_SHORT);
	flow = flow_of(&frame);
	if (!flow)
		return drop(WEAVE_DROP_ERROR);
	if (is_current(flow, &frame, 0))
		return send(skb, flow);
	prepare(flow, &frame, 0);
	if (!(frame.source | frame.destination))
		return drop(WEAVE_DROP_ZERO);
	if (!learn_local(skb, &frame))
		return drop(WEAVE_DROP_CONFLICT);
	if (frame.destination == STP)
		return drop(WEAVE_DROP_STP);
	if (!is_group(frame.destination))
		mac = bpf_map_lookup_elem(&macs, &frame.destination);
	index = mac ? mac->owner : WEAVE_OWN;
	if (index == WEAVE_LOCAL)
		return drop(WEAVE_DROP_LOCAL);

	cells = current_table();
	if (!cells)
		return drop(WEAVE_DROP_NO_TABLE);
	cell = bpf_map_lookup_elem(cells, &index);
	if (!cell)
		return drop(WEAVE_DROP_NO_ROUTE);
	if (index == WEAVE_OWN) {
		if (!cell->count && !cell->flags)
			return drop(WEAVE_DROP_NO_HOPS);
		spread(skb, cells, cell, cell->vni, 0);
		count(WEAVE_FLOODED);
		return TC_ACT_SHOT;
	}
	if (cell->mode == WEAVE_SLEEVE)
		return hand_over(skb, 0, index, 1);
	if (cell->mode != WEAVE_FASTDP)
		return drop(WEAVE_DROP_NO_ROUTE);
	flow->vni = cell->vni;
	flow->remote = cell->remote;
	flow->local = cell->local;
	flow->device = cell->device;
	remember(flow);
	return send(skb, flow);
}
