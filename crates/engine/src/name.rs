//! Names for containers that were given none: `adjective_surname`, of people who found things out.

mod words;

use words::{ADJECTIVES, SURNAMES};

/// A name for the `attempt`-th try (from 0); later tries carry a digit. `random` decides.
pub(crate) fn generate(attempt: u32, mut random: impl FnMut(usize) -> usize) -> String {
    loop {
        let adjective = ADJECTIVES[random(ADJECTIVES.len()) % ADJECTIVES.len()];
        let surname = SURNAMES[random(SURNAMES.len()) % SURNAMES.len()];
        // As with Docker: Steve Wozniak is not boring.
        if (adjective, surname) == ("boring", "wozniak") {
            continue;
        }
        let digit = if attempt > 0 { (random(10) % 10).to_string() } else { String::new() };
        return format!("{adjective}_{surname}{digit}");
    }
}

/// Numbers below a bound, from the kernel's generator.
pub(crate) fn random_below(bound: usize) -> usize {
    let hex = crate::id::random_hex(7);
    let number = usize::from_str_radix(&hex, 16).expect("14 hexadecimal digits fit into 64 bits");
    number % bound.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_proper_and_distinct() {
        for list in [ADJECTIVES, SURNAMES] {
            let mut sorted = list.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), list.len());
            assert!(list.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())), "{list:?}");
        }
        assert!(ADJECTIVES.len() >= 100 && SURNAMES.len() >= 150, "{} {}", ADJECTIVES.len(), SURNAMES.len());
    }

    #[test]
    fn names_have_their_form() {
        let boring = ADJECTIVES.iter().position(|word| *word == "boring").unwrap();
        let wozniak = SURNAMES.iter().position(|word| *word == "wozniak").unwrap();
        let mut numbers = vec![boring, wozniak, 0, 1, 7].into_iter();
        assert_eq!(generate(1, |_| numbers.next().unwrap()), format!("{}_{}7", ADJECTIVES[0], SURNAMES[1]));
        assert_eq!(generate(0, |_| 2), format!("{}_{}", ADJECTIVES[2], SURNAMES[2]));
    }
}
