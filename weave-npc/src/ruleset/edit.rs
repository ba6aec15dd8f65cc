//! The smallest edit script between two lists.
//!
//! Invariant: carrying out the script on the old list, step by step, gives the new list.

/// One step of an edit script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// The item with this index of the list as it is at this step goes.
    Delete(usize),
    /// The item with this index of the **new** list comes, and has that index from now on.
    Insert(usize),
}

/// The script from `old` to `new`: deletions from back to front, then insertions from front to back.
///
/// It is the smallest one, by the longest common subsequence. Where both lists differ in more than
/// [`LIMIT`] pairs between their common beginning and end, that part is replaced as a whole.
pub(super) fn edits<T>(old: &[T], new: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<Edit> {
    let head = old.iter().zip(new).take_while(|(a, b)| same(a, b)).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest
        .iter()
        .rev()
        .zip(new_rest.iter().rev())
        .take_while(|(a, b)| same(a, b))
        .count();
    let old_mid = &old_rest[..old_rest.len() - tail];
    let new_mid = &new_rest[..new_rest.len() - tail];

    let mut kept_old = vec![false; old_mid.len()];
    let mut kept_new = vec![false; new_mid.len()];
    for (a, b) in common(old_mid, new_mid, same) {
        kept_old[a] = true;
        kept_new[b] = true;
    }
    let gone = (0..old_mid.len()).rev().filter(|&index| !kept_old[index]);
    let came = (0..new_mid.len()).filter(|&index| !kept_new[index]);
    gone.map(|index| Edit::Delete(head + index))
        .chain(came.map(|index| Edit::Insert(head + index)))
        .collect()
}

/// Pairs of indices of a longest common subsequence.
fn common<T>(old: &[T], new: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<(usize, usize)> {
    if old.is_empty() || new.is_empty() || old.len().saturating_mul(new.len()) > LIMIT {
        return Vec::new();
    }
    let width = new.len() + 1;
    // `length[a * width + b]`: of a longest common subsequence of `old[a..]` and `new[b..]`.
    let mut length = vec![0_u32; (old.len() + 1) * width];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            length[a * width + b] = if same(&old[a], &new[b]) {
                length[(a + 1) * width + b + 1] + 1
            } else {
                length[(a + 1) * width + b].max(length[a * width + b + 1])
            };
        }
    }
    let (mut a, mut b, mut pairs) = (0, 0, Vec::new());
    while a < old.len() && b < new.len() {
        if same(&old[a], &new[b]) {
            pairs.push((a, b));
            (a, b) = (a + 1, b + 1);
        } else if length[(a + 1) * width + b] >= length[a * width + b + 1] {
            a += 1;
        } else {
            b += 1;
        }
    }
    pairs
}

/// Pairs of items that are compared at most: 1000 old by 1000 new ones.
const LIMIT: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn carry_out(old: &str, new: &str) -> (String, usize) {
        let new: Vec<char> = new.chars().collect();
        let mut list: Vec<char> = old.chars().collect();
        let script = edits(&list, &new, |a, b| a == b);
        for edit in &script {
            match *edit {
                Edit::Delete(index) => drop(list.remove(index)),
                Edit::Insert(index) => list.insert(index, new[index]),
            }
        }
        (list.into_iter().collect(), script.len())
    }

    #[test]
    fn a_script_makes_the_new_list_in_the_fewest_steps() {
        for (old, new, steps) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "abxc", 1),
            ("abcabba", "cbabac", 5),
            ("xabcd", "abcdx", 2),
            ("aab", "ab", 1),
        ] {
            assert_eq!(
                carry_out(old, new),
                (new.to_owned(), steps),
                "{old} -> {new}"
            );
        }
    }

    #[test]
    fn lists_too_long_to_compare_are_replaced_between_their_common_ends() {
        let old: String = "["
            .chars()
            .chain(std::iter::repeat_n('a', 1500))
            .chain("]".chars())
            .collect();
        let new: String = "["
            .chars()
            .chain(std::iter::repeat_n('b', 1500))
            .chain("]".chars())
            .collect();

        assert_eq!(carry_out(&old, &new), (new, 3000));
    }
}
