/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All programs in one object, so that they share their maps. Built by build.sh.
 */
#include "bridge.bpf.c"
#include "tunnel.bpf.c"
#include "user.bpf.c"

char _license[] SEC("license") = "Apache-2.0";
