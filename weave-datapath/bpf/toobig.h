/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that the path to the next hop does not carry. For a port of a bridge the VXLAN driver makes
 * the answer itself (ICMP "fragmentation needed", ICMPv6 "packet too big", as from the destination of
 * the frame) and receives it on the device, with the metadata the frame was to leave with, the
 * addresses exchanged. What is left to do is to bring it to the sender, who may be behind another peer.
 */
#ifndef WEAVE_TOOBIG_H
#define WEAVE_TOOBIG_H

#include "maps.h"

#define ANSWER_JIFFIES 25
#define NOCACHE bpf_htons(0x2000)	/* TUNNEL_NOCACHE of linux/if_tunnel.h */

struct answers {
	__u64 until;			/* jiffies */
	__u64 given;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answers);
} answers SEC(".maps");

/*
 * Whether a frame was made by our own driver: it has metadata that a program set, which is marked as
 * not to be cached. Kernels before 6.1 do not tell; there such frames end as reflections.
 */
static __always_inline int is_answer(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key;

	return !bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_FLAGS) &&
	       key.tunnel_flags & NOCACHE;
}

static __always_inline int may_answer(void)
{
	__u32 zero = 0;
	struct answers *answers_given = bpf_map_lookup_elem(&answers, &zero);
	__u64 now = bpf_jiffies64();

	if (!answers_given)
		return 0;
	if ((__s64)(answers_given->until - now) <= 0) {
		answers_given->until = now + ANSWER_JIFFIES;
		answers_given->given = 0;
	}
	return answers_given->given++ < WEAVE_ANSWERS;
}

/*
 * Brings an answer to who sent the frame it is for: `origin`, in the name of `destination`. Nothing is
 * learned from it.
 */
static __always_inline int answer(struct __sk_buff *skb, const struct weave_cell *to, __u32 origin,
				  __u32 destination)
{
	if (!may_answer())
		return drop(WEAVE_DROP_ANSWER);
	count(WEAVE_TOO_BIG);
	if (to->mode == WEAVE_SELF)
		return enter(skb);
	if (to->mode == WEAVE_SLEEVE)
		return hand_over(skb, destination, origin, 0);
	if (to->mode != WEAVE_FASTDP)
		return drop(WEAVE_DROP_NO_ROUTE);
	if (set_tunnel(skb, origin << 12 | destination, to->remote, to->local))
		return drop(WEAVE_DROP_ERROR);
	return bpf_redirect(to->device, 0);
}

#endif
