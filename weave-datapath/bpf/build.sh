#!/bin/sh
# Compiles the kernel programs: build.sh [OUTPUT [SOURCE]]. Needs clang 14, its llvm-strip and the
# headers of libbpf. The paths of this machine stay out of the object, so every build gives the same bytes.
set -eu
source=${2:-weave.bpf.c}
output=$(realpath -m "${1:-$(dirname "$0")/${source%.c}.o}")
cd "$(dirname "$0")"
${CLANG:-clang-14} -O2 -g -target bpfel -mcpu=v3 -Wall -Wextra -Werror \
	-fdebug-compilation-dir=. -idirafter "/usr/include/$(uname -m)-linux-gnu" \
	-c "$source" -o "$output"
${LLVM_STRIP:-llvm-strip-14} -g "$output"
