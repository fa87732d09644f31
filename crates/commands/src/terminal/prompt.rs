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

/// Asks for a line.
pub(crate) fn ask(question: &str) -> Outcome<String> {
    crate::out::text(question)?;
    let mut answer = String::new();
    // No answer is an empty one.
    let _ = std::io::stdin().lock().read_line(&mut answer);
    Ok(answer.trim().to_owned())
}

/// Asks for a line that is not shown while it is typed.
pub(crate) fn ask_hidden(question: &str) -> Outcome<String> {
    crate::out::text(question)?;
    let hidden = super::tty::Hidden::enter();
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    drop(hidden);
    crate::out::text("\n")?;
    Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
}
