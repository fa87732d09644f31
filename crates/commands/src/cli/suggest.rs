//! The nearest known word to a mistyped one.

/// Number of insertions, deletions and substitutions between two words.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Words at most two edits away or starting with what was typed, best first, at most three.
pub(crate) fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found: Vec<(usize, &str)> = known
        .filter_map(|word| {
            let edits = distance(typed, word);
            let near = edits <= if typed.chars().count() < 4 { 1 } else { 2 };
            let begins = typed.len() >= 2 && word.starts_with(typed);
            (near || begins).then_some((edits, word))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|(_, word)| word).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_near_words() {
        let known = || ["run", "ps", "images", "start", "stats", "stop"].into_iter();
        assert_eq!(nearest("runn", known()), ["run"]);
        assert_eq!(nearest("imges", known()), ["images"]);
        assert_eq!(nearest("sta", known()), ["start", "stats"]);
        assert!(nearest("xyzzy", known()).is_empty());
    }
}
