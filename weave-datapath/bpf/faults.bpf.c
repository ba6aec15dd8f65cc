/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults of a network, for experiments: packets are lost at random, are swallowed when they are too
 * large, or when they belong to a UDP port that is blocked. Ingress of the device that gets them. Only
 * IPv4 is touched; what is dropped leaves no answer behind, as in the networks that do this.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define BLOCKS 8
#define FRAGMENT 0x1fff		/* offset of a fragment, RFC 791 */

/* Written by the loader before the program is loaded: `Constants` in faults/mod.rs. */
const volatile struct {
	__u32 loss;		/* chance of a packet to be lost, of 2^32 */
	__u32 longest;		/* bytes of IP packet that pass; 0: any */
	struct {
		__u32 address;	/* as on the wire; 0: any */
		__u32 port;	/* UDP port at either end; 0: no rule */
	} blocks[BLOCKS];
} faults = {};

/* Whether `port` of `address` is blocked, as source or destination. */
static __always_inline int is_blocked(struct __sk_buff *skb, const struct iphdr *ip)
{
	__u16 ports[2];

	if (ip->protocol != IPPROTO_UDP || bpf_ntohs(ip->frag_off) & FRAGMENT)
		return 0;
	if (bpf_skb_load_bytes(skb, ETH_HLEN + ip->ihl * 4, ports, sizeof(ports)))
		return 0;
	for (__u32 i = 0; i < BLOCKS; i++) {
		__u32 port = faults.blocks[i].port, address = faults.blocks[i].address;

		if (!port || (bpf_ntohs(ports[0]) != port && bpf_ntohs(ports[1]) != port))
			continue;
		if (!address || ip->saddr == address || ip->daddr == address)
			return 1;
	}
	return 0;
}

SEC("classifier")
int weave_faults(struct __sk_buff *skb)
{
	struct iphdr ip;

	if (skb->protocol != bpf_htons(ETH_P_IP) || bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)))
		return TC_ACT_OK;
	if (faults.loss && bpf_get_prandom_u32() < faults.loss)
		return TC_ACT_SHOT;
	if (faults.longest && bpf_ntohs(ip.tot_len) > faults.longest)
		return TC_ACT_SHOT;
	return is_blocked(skb, &ip) ? TC_ACT_SHOT : TC_ACT_OK;
}

char _license[] SEC("license") = "Apache-2.0";
