//! Names of host ends.
//!
//! The first name tried is Weave Net's: `vethwepl` and seven characters of the container id. Seven
//! characters collide, so further names follow, each from a hash of the whole id. The list depends
//! on the id alone: whoever cleans up finds the same names again, and the alias tells whose a link is.

/// The names a host end of this container may have, in the order they are tried.
///
/// Ids shorter than five characters are not used in names, as in Weave Net.
pub fn host_names(container_id: &str) -> impl Iterator<Item = String> {
    let readable = (container_id.len() >= SHORTEST_ID)
        .then(|| container_id.chars().take(SUFFIX).collect::<String>());
    let hashed = (0..HASHED).map(move |attempt| suffix(container_id, attempt));
    readable
        .into_iter()
        .chain(hashed)
        .map(|suffix| format!("{PREFIX}{suffix}"))
}

/// Seven hexadecimal digits of FNV-1a over the id and a counter.
fn suffix(container_id: &str, attempt: u8) -> String {
    let hash = container_id
        .bytes()
        .chain([0, attempt])
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3_u64)
        });
    format!("{:07x}", hash >> (64 - 4 * SUFFIX))
}

/// Prefix of every host end; `weave reset` and status look for it.
const PREFIX: &str = "vethwepl";

/// Characters of a name after the prefix: 15 in all, the longest the kernel takes.
const SUFFIX: usize = 7;

const SHORTEST_ID: usize = 5;

/// How many names are tried besides the readable one.
const HASHED: u8 = 15;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_first_name_is_the_one_of_weave_net() {
        assert_eq!(
            host_names("aaaaaaaaaaaaaaaa1").next().as_deref(),
            Some("vethweplaaaaaaa")
        );
        assert_eq!(host_names("abcde").next().as_deref(), Some("vethweplabcde"));
    }

    #[test]
    fn short_ids_get_hashed_names() {
        let names: Vec<_> = host_names("cccc").collect();

        assert_eq!(names.len(), 15);
        assert!(names.iter().all(|name| name.len() == 15));
    }

    #[test]
    fn names_of_one_id_differ_and_ids_with_one_prefix_part_after_the_first() {
        let one: Vec<_> = host_names("aaaaaaaaaaaa1").collect();
        let other: Vec<_> = host_names("aaaaaaaaaaaa2").collect();

        assert_eq!(one.iter().collect::<HashSet<_>>().len(), one.len());
        assert_eq!(one[0], other[0]);
        assert!(one[1..].iter().all(|name| !other.contains(name)));
    }

    #[test]
    fn every_name_is_one_the_kernel_takes() {
        for id in ["a", "abcdefg", "a.b-c_d.e", &"x".repeat(255)] {
            assert!(
                host_names(id).all(|name| crate::netlink::is_interface_name(&name)),
                "{id}"
            );
        }
    }
}
