//! Files of Weave Net and files of ours; whatever the bytes are, reading ends.

use proptest::prelude::*;

use super::*;

const WEAVE_NET: &[u8] = include_bytes!("../../../tests/vectors/store/weave-netdata.db");

fn read(image: &[u8]) -> Result<Values, Malformed> {
    let meta = metas(image)?[0];
    Ok(bucket(
        image,
        usize::try_from(meta.page_size).unwrap(),
        meta.root,
        b"top",
    )?
    .values)
}

fn write(page_size: u32, values: &Values) -> Vec<u8> {
    let commit = commit(page_size, 2, b"top", values, |_| 2).unwrap();
    let size = usize::try_from(page_size).unwrap();
    let mut image = commit.meta.emit();
    image.resize(2 * size, 0);
    image.extend_from_slice(&commit.bytes);
    image
}

#[test]
fn a_file_of_weave_net_is_read() {
    let values = read(WEAVE_NET).unwrap();

    let keys: Vec<_> = values
        .keys()
        .map(|key| String::from_utf8_lossy(key))
        .collect();
    assert_eq!(
        keys,
        [
            "directPeers",
            "flag:peer-reclaim",
            "ownedAddresses",
            "peername",
            "ring",
            "version"
        ]
    );
    assert_eq!(values[b"version".as_slice()], [1, 0]);
    assert_eq!(
        metas(WEAVE_NET)
            .unwrap()
            .iter()
            .map(|meta| meta.txid)
            .collect::<Vec<_>>(),
        [19, 18]
    );
}

#[test]
fn the_meta_page_is_written_as_weave_net_writes_it() {
    let meta = metas(WEAVE_NET).unwrap()[0];

    let page = meta.emit();

    assert_eq!(page, WEAVE_NET[4096..4096 + page.len()]);
}

#[test]
fn a_tree_of_branches_is_read() {
    // Two leaves of one value each under a branch, by hand.
    let leaf = |id: u64, key: &[u8]| {
        let mut page = page::header(id, page::LEAF, 1, 0);
        for word in [0, 16, 1, 1] {
            page.extend_from_slice(&u32::to_le_bytes(word));
        }
        page.extend_from_slice(key);
        page.push(b'!');
        page.resize(1024, 0);
        page
    };
    let mut branch = page::header(4, page::BRANCH, 2, 0);
    for (index, child) in [2_u64, 3].into_iter().enumerate() {
        let pos = 32 - 16 * u32::try_from(index).unwrap() + u32::try_from(index).unwrap();
        branch.extend_from_slice(&pos.to_le_bytes());
        branch.extend_from_slice(&1_u32.to_le_bytes());
        branch.extend_from_slice(&child.to_le_bytes());
    }
    branch.extend_from_slice(b"ab");
    branch.resize(1024, 0);
    let mut root = page::header(5, page::LEAF, 1, 0);
    for word in [page::BUCKET, 16, 3, 16] {
        root.extend_from_slice(&word.to_le_bytes());
    }
    root.extend_from_slice(b"top");
    root.extend_from_slice(&4_u64.to_le_bytes());
    root.extend_from_slice(&0_u64.to_le_bytes());
    root.resize(1024, 0);
    let image = [vec![0; 2048], leaf(2, b"a"), leaf(3, b"b"), branch, root].concat();

    let bucket = bucket(&image, 1024, 5, b"top").unwrap();

    let expected = Values::from([(b"a".to_vec(), vec![b'!']), (b"b".to_vec(), vec![b'!'])]);
    assert_eq!(bucket.values, expected);
    assert!(!bucket.is_marked);
    let mut pages = bucket.pages;
    pages.sort_by_key(|range| range.start);
    assert_eq!(pages, [2..3, 3..4, 4..5, 5..6]);
}

#[test]
fn pages_that_link_in_a_circle_are_refused() {
    let mut branch = page::header(2, page::BRANCH, 1, 0);
    for word in [16_u32, 0] {
        branch.extend_from_slice(&word.to_le_bytes());
    }
    branch.extend_from_slice(&2_u64.to_le_bytes());
    branch.resize(1024, 0);
    let image = [vec![0; 2048], branch].concat();

    let error = bucket(&image, 1024, 2, b"top").unwrap_err();

    assert_eq!(error.to_string(), "page 2 is linked twice");
}

#[test]
fn a_long_list_of_unused_pages_has_its_count_in_front() {
    let values = Values::from([(b"a".to_vec(), vec![1])]);

    let commit = commit(1024, 3, b"top", &values, |_| 70_002).unwrap();

    let list = usize::try_from(commit.meta.freelist - commit.pages.start).unwrap() * 1024;
    let page = &commit.bytes[list..];
    assert_eq!(page[8..12], [0x10, 0, 0xff, 0xff]);
    assert_eq!(page[16..24], 70_000_u64.to_le_bytes());
    assert_eq!(page[24..32], 2_u64.to_le_bytes());
    let overflow = u32::from_le_bytes(page[12..16].try_into().unwrap());
    assert_eq!(page.len(), (usize::try_from(overflow).unwrap() + 1) * 1024);
    assert!(page.len() >= 16 + 8 + 70_000 * 8);
}

fn any_values() -> impl Strategy<Value = Values> {
    let value = prop::collection::vec(any::<u8>(), 0..6000);
    prop::collection::btree_map(prop::collection::vec(any::<u8>(), 1..40), value, 0..12)
}

proptest! {
    /// Law: what is written is read.
    #[test]
    fn what_is_written_is_read(values in any_values(), size in 0_u32..4) {
        let image = write(1024 << size, &values);

        prop_assert_eq!(image.len() % (1024 << size), 0);
        prop_assert_eq!(read(&image).unwrap(), values);
    }

    /// Law: whatever the bytes, reading ends, and gives no more than they are.
    #[test]
    fn damaged_files_are_read_or_refused(
        damage in prop::collection::vec((0..WEAVE_NET.len(), any::<u8>()), 1..40),
        length in 0..WEAVE_NET.len(),
    ) {
        let mut image = WEAVE_NET.to_vec();
        for (at, byte) in damage {
            image[at] = byte;
        }
        image.truncate(image.len().max(12_288) - length % 12_288);
        for root in 0..9 {
            if let Ok(bucket) = bucket(&image, 4096, root, b"top") {
                let total: usize = bucket.values.values().map(Vec::len).sum();
                prop_assert!(total <= image.len());
            }
        }
        let _ = read(&image);
    }

    /// Law: as above, for bytes that were never a file.
    #[test]
    fn random_pages_are_read_or_refused(
        flags in prop::sample::select(vec![1_u16, 2, 4, 16]),
        count in any::<u16>(),
        overflow in 0_u32..4,
        words in prop::collection::vec(0_u32..4096, 0..1024),
    ) {
        let mut image = vec![0; 2048];
        image.extend(page::header(2, flags, count, overflow));
        image.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        image.resize(image.len().next_multiple_of(1024), 0);

        if let Some(found) = leaf_at(&image, 1024, 2) {
            let total: usize = found.values.values().map(Vec::len).sum();
            prop_assert!(total <= image.len());
        }
        let _ = bucket(&image, 1024, 2, b"top");
    }
}
