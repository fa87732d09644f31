//! Colours: on a terminal, unless `NO_COLOR` says no (no-color.org) or the terminal has none.

/// A colour of the first sixteen, as ANSI numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
}

/// Colours that tell several things apart.
pub(crate) const MANY: [Colour; 5] = [Colour::Cyan, Colour::Yellow, Colour::Green, Colour::Magenta, Colour::Blue];

/// Whether standard output may have colours.
pub(crate) fn wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    super::tty::stdout_is_terminal() && !set("NO_COLOR") && !dumb
}

/// The text in a colour, if there are colours.
pub(crate) fn paint(text: &str, colour: Colour, on: bool) -> String {
    if !on {
        return text.to_owned();
    }
    let number = match colour {
        Colour::Red => 31,
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Blue => 34,
        Colour::Magenta => 35,
        Colour::Cyan => 36,
    };
    format!("\x1b[{number}m{text}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn painted_or_plain() {
        assert_eq!(paint("x", Colour::Red, true), "\x1b[31mx\x1b[0m");
        assert_eq!(paint("x", Colour::Red, false), "x");
    }
}
