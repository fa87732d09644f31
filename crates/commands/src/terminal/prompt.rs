//! Questions with yes or no.

use std::io::BufRead;

use crate::failure::Outcome;

/// Asks; anything but `y` or `yes` is no.
pub(crate) fn confirm(question: &str) -> Outcome<bool> {
    crate::out::text(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    // No answer is no.
    let _ = std::io::stdin().lock().read_line(&mut answer);
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
