//! The laws of [`journal`](super): against a disk that is cut off anywhere, and against damage.

use std::cell::RefCell;
use std::rc::Rc;

use weave_mesh::random::Random;

use super::*;

/// A disk in memory that remembers what was done to it, in order.
#[derive(Clone, Default)]
struct Tape(Rc<RefCell<Vec<Action>>>);

#[derive(Clone)]
enum Action {
    Write(usize, Vec<u8>),
    Sync,
    /// The commit of this number was acknowledged.
    Acknowledged(usize),
}

impl Disk for Tape {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.0
            .borrow_mut()
            .push(Action::Write(offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.borrow_mut().push(Action::Sync);
        Ok(())
    }
}

impl Tape {
    fn actions(&self) -> Vec<Action> {
        self.0.borrow().clone()
    }

    /// The content when everything is written.
    fn image(&self) -> Vec<u8> {
        let mut image = Vec::new();
        for action in self.actions() {
            if let Action::Write(offset, bytes) = action {
                put(&mut image, offset, &bytes);
            }
        }
        image
    }

    fn syncs(&self) -> usize {
        self.actions()
            .iter()
            .filter(|action| matches!(action, Action::Sync))
            .count()
    }
}

fn put(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

fn small() -> Position {
    Position {
        page_size: 1024,
        ..Position::fresh()
    }
}

fn values(number: usize) -> Values {
    let noise = vec![u8::try_from(number % 251).unwrap(); number * 37 % 2500];
    Values::from([
        (b"version".to_vec(), vec![1, 0]),
        (b"noise".to_vec(), noise),
    ])
}

fn body(number: usize) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn commit<D: Disk>(journal: &mut Journal<D>, number: usize) {
    journal.commit(values(number), &body(number)).unwrap();
}

/// The number of the commit that `image` holds.
fn number(image: &[u8]) -> Result<Option<usize>, Fault> {
    let found = recover(image)?;
    let number = found
        .body
        .map(|body| String::from_utf8(body).unwrap().parse().unwrap());
    if let Some(number) = number {
        assert_eq!(found.values, values(number), "values of another commit");
    }
    Ok(number)
}

/// Commits `count` times; some commits are settled.
fn record(count: usize) -> Tape {
    let tape = Tape::default();
    let mut journal = Journal::new(tape.clone(), small());
    for number in 0..count {
        commit(&mut journal, number);
        tape.0.borrow_mut().push(Action::Acknowledged(number));
        if number % 3 == 2 {
            journal.settle().unwrap();
        }
    }
    tape
}

#[test]
fn a_commit_costs_one_sync_but_the_first_two() {
    let tape = Tape::default();
    let mut journal = Journal::new(tape.clone(), small());

    commit(&mut journal, 0);
    let first = tape.syncs();
    commit(&mut journal, 1);
    let second = tape.syncs();
    journal.settle().unwrap();
    journal.settle().unwrap();

    assert_eq!((first, second, tape.syncs()), (2, 3, 4));
    assert_eq!(number(&tape.image()), Ok(Some(1)));
}

#[test]
fn the_file_stays_as_small_as_three_commits() {
    let tape = record(200);

    let largest = 2 + 3 * (1 + 3 + 1);

    assert!(
        tape.image().len() <= (largest + 8) * 1024,
        "{} bytes",
        tape.image().len()
    );
}

/// Law: after a cut at any write, with any part of the writes since the last sync on disk.
#[test]
fn after_a_power_cut_the_last_acknowledged_commit_is_found() {
    let actions = record(40).actions();
    let mut random = Random::new(7);

    let mut acknowledged = None;
    let mut durable = Vec::new();
    let mut pending: Vec<(usize, Vec<u8>)> = Vec::new();
    for action in &actions {
        match action {
            Action::Write(offset, bytes) => pending.push((*offset, bytes.clone())),
            Action::Sync => {
                for (offset, bytes) in pending.drain(..) {
                    put(&mut durable, offset, &bytes);
                }
            }
            Action::Acknowledged(number) => acknowledged = Some(*number),
        }
        for _ in 0..8 {
            let image = cut(&durable, &pending, &mut random);
            match number(&image) {
                Ok(found) => assert!(found >= acknowledged, "{found:?} for {acknowledged:?}"),
                // The file has no name before its first commit is durable.
                Err(fault) => assert_eq!(acknowledged, None, "{fault:?}"),
            }
        }
    }
    assert_eq!(acknowledged, Some(39));
}

/// What is on disk when some sectors of the pending writes have reached it.
fn cut(durable: &[u8], pending: &[(usize, Vec<u8>)], random: &mut Random) -> Vec<u8> {
    let mut image = durable.to_vec();
    for (offset, bytes) in pending {
        for (index, sector) in bytes.chunks(512).enumerate() {
            if random.below(2) == 0 {
                put(&mut image, offset + index * 512, sector);
            }
        }
    }
    image
}

/// A killed process leaves all writes it made, and a part of the one it was making.
#[test]
fn after_a_kill_the_last_acknowledged_commit_is_found() {
    let mut image = Vec::new();
    let mut acknowledged = None;
    for action in record(7).actions() {
        match action {
            Action::Write(offset, bytes) => {
                // Every byte of the heads, and some of the rest: 61 is odd and no page's divisor.
                let rest = (128..bytes.len()).step_by(61);
                for length in (0..bytes.len().min(128)).chain(rest) {
                    let mut torn = image.clone();
                    put(&mut torn, offset, &bytes[..length]);
                    match number(&torn) {
                        Ok(found) => assert!(found >= acknowledged, "{length} of {offset}"),
                        Err(fault) => assert_eq!(acknowledged, None, "{fault:?}"),
                    }
                }
                put(&mut image, offset, &bytes);
            }
            Action::Sync => {}
            Action::Acknowledged(number) => acknowledged = Some(number),
        }
    }
    assert_eq!(number(&image), Ok(Some(6)));
}

/// Law: one flipped bit is noticed, or changes nothing.
#[test]
fn a_flipped_bit_never_gives_another_state() {
    let image = record(4).image();

    let mut noticed = 0;
    for at in 0..image.len() {
        // Of heads of pages every bit, of the rest one of each byte.
        let bits = if at % 1024 < 64 {
            0..8
        } else {
            at % 8..at % 8 + 1
        };
        for bit in bits {
            let mut flipped = image.clone();
            flipped[at] ^= 1 << bit;
            match number(&flipped) {
                Ok(found) => assert_eq!(found, Some(3), "bit {bit} of {at}"),
                Err(_) => noticed += 1,
            }
        }
    }
    assert!(noticed > 500, "{noticed}");
}

/// Law: a file cut short is noticed, or still whole where it matters.
#[test]
fn a_cut_file_never_gives_another_state() {
    let image = record(5).image();

    for length in 0..image.len() {
        if let Ok(found) = number(&image[..length]) {
            assert_eq!(found, Some(4), "cut at {length}");
        }
    }
    assert!(number(&[]).is_err());
}

#[test]
fn it_goes_on_after_a_restart_without_growing() {
    let tape = record(3);
    let mut image = tape.image();
    let length = image.len();

    for count in 3..60 {
        let position = recover(&image).unwrap().position;
        let tape = Tape::default();
        commit(&mut Journal::new(tape.clone(), position), count);
        for action in tape.actions() {
            if let Action::Write(offset, bytes) = action {
                put(&mut image, offset, &bytes);
            }
        }
        assert_eq!(number(&image), Ok(Some(count)));
    }

    assert!(
        image.len() <= length + 16 * 1024,
        "{} from {length}",
        image.len()
    );
}

/// A disk that fails now and then, and then holds any part of what was written.
struct Failing {
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
    random: Random,
}

impl Failing {
    fn fails(&mut self) -> bool {
        self.random.below(4) == 0
    }
}

impl Disk for &mut Failing {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.fails() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.pending
            .push((usize::try_from(offset).unwrap(), bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        // Linux forgets what it could not write; a later sync then succeeds without it.
        if self.fails() {
            self.durable = cut(&self.durable.clone(), &pending, &mut self.random.clone());
            return Err(io::ErrorKind::Other.into());
        }
        for (offset, bytes) in pending {
            put(&mut self.durable, offset, &bytes);
        }
        Ok(())
    }
}

#[test]
fn after_failed_writes_what_is_acknowledged_is_found() {
    for seed in 0..200 {
        let mut disk = Failing {
            durable: Vec::new(),
            pending: Vec::new(),
            random: Random::new(seed),
        };
        let mut journal = Journal::new(&mut disk, small());
        let mut acknowledged = None;
        for number in 0..30 {
            if journal.commit(values(number), &body(number)).is_ok() {
                acknowledged = Some(number);
            }
        }
        let (durable, pending) = (disk.durable.clone(), disk.pending.clone());
        let image = cut(&durable, &pending, &mut disk.random);

        let found = number(&image);

        let found = found.unwrap_or_else(|fault| panic!("seed {seed}: {fault:?}"));
        assert!(
            found >= acknowledged,
            "seed {seed}: {found:?} for {acknowledged:?}"
        );
    }
}

#[test]
fn what_weave_net_writes_later_counts() {
    let image = record(3).image();
    // As Weave Net does it: a tree of its own with one value changed, ours kept.
    let metas = bolt::metas(&image).unwrap();
    let bucket = bolt::bucket(&image, 1024, metas[0].root, BUCKET).unwrap();
    let mut theirs = bucket.values;
    theirs.insert(b"ring".to_vec(), b"theirs".to_vec());
    let txid = metas[0].txid + 1;
    let end = u64::try_from(image.len().div_ceil(1024)).unwrap();
    let written = bolt::commit(1024, txid, BUCKET, &theirs, |_| end).unwrap();
    let mut image = image;
    put(
        &mut image,
        usize::try_from(end).unwrap() * 1024,
        &written.bytes,
    );
    put(
        &mut image,
        usize::try_from(Meta::slot(txid)).unwrap() * 1024,
        &written.meta.emit(),
    );

    let found = recover(&image).unwrap();

    assert_eq!(found.body, None);
    assert_eq!(found.values[b"ring".as_slice()], b"theirs");
    assert!(!found.values.contains_key(seal::KEY));
}
