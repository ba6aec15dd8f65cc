/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ingress of the TAP device: frames that user space received by sleeve. Their tag says who took them
 * off its bridge, and for whom. They go on as if they had come out of the tunnel: what is for us
 * enters the bridge by the port of the VXLAN device, so that the bridge finds all that is remote at
 * one port, by whatever overlay it comes.
 */
#include "maps.h"

#define VLAN_ID_MASK 0xfff

/* Takes the tag off. What was behind it, if that is a tag as well, comes in its place. */
static __always_inline int take_tag(struct __sk_buff *skb, __u32 *word)
{
	if (!skb->vlan_present || skb->vlan_proto != bpf_htons(WEAVE_TAG))
		return -1;
	*word = skb->vlan_tci;
	return bpf_skb_vlan_pop(skb);
}

SEC("classifier")
int weave_user(struct __sk_buff *skb)
{
	__u32 zero = 0, word, origin, destination;
	struct weave_config *configured;
	struct weave_cell *from, *to;
	struct frame frame;
	void *cells;

	if (take_tag(skb, &word))
		return drop(WEAVE_DROP_NO_KEY);
	origin = word & VLAN_ID_MASK;
	cells = current_table();
	configured = bpf_map_lookup_elem(&config, &zero);
	if (!cells || !configured)
		return drop(WEAVE_DROP_NO_TABLE);
	from = bpf_map_lookup_elem(cells, &origin);
	if (!from || from->mode == WEAVE_UNKNOWN)
		return drop(WEAVE_DROP_UNKNOWN);
	if (from->mode == WEAVE_SELF)
		return drop(WEAVE_DROP_OWN);

	if (word >> WEAVE_KIND_SHIFT == WEAVE_TAG_RELAY) {
		if (take_tag(skb, &word))
			return drop(WEAVE_DROP_NO_KEY);
		destination = word & VLAN_ID_MASK;
		to = bpf_map_lookup_elem(cells, &destination);
		if (!to || to->mode != WEAVE_FASTDP)
			return drop(WEAVE_DROP_NO_ROUTE);
		if (set_tunnel(skb, destination << 12 | origin, to->remote, to->local))
			return drop(WEAVE_DROP_ERROR);
		count(WEAVE_RELAYED);
		return bpf_redirect(to->device, 0);
	}
	if (read_frame(skb, &frame))
		return drop(WEAVE_DROP_SHORT);
	learn_remote(&frame, origin);
	spread_unless_local(skb, &frame, cells, from, origin, 0);
	count(WEAVE_TAKEN);
	return bpf_redirect(configured->tunnel, BPF_F_INGRESS);
}
