//! Text from elsewhere (cameras, brokers, models), as it may stand in a log or on a terminal.

/// At most `most` characters of `text`, without what moves a cursor, changes colours or begins a new line.
pub fn printable(text: &str, most: usize) -> String {
    let mut out: String = text.chars().take(most).map(|c| if is_odd(c) { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

/// All lines of `text`, without what a terminal obeys.
pub fn printable_lines(text: &str) -> String {
    text.chars().map(|c| if is_odd(c) && !matches!(c, '\n' | '\t') { ' ' } else { c }).collect()
}

/// Beside control characters those that turn the direction of what follows, and those that are not seen.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(printable("a\x1b[31mb\r\n<3>c\u{202e}d\u{9b}", 100), "a [31mb  <3>c d ");
        assert_eq!(printable("übung", 3), "übu…");
        assert_eq!(printable("übung", 5), "übung");
        assert_eq!(printable_lines("a\n\tb\x1b]0;x\x07\r"), "a\n\tb ]0;x  ");
    }
}
