//! The JSON values that patches carry: a boolean, an integer, a string, or an
//! array of strings. Anything else is no value of any field, so a general reader
//! would only have more to get wrong.

/// A value of a patch. Numbers stay text, so that integers lose nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    Number(String),
    Text(String),
    Texts(Vec<String>),
}

/// Reads one JSON text; `None` if it is not one of these values.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut reader = Reader { text, at: 0 };
    reader.space();
    let value = match reader.peek()? {
        b'"' => Value::Text(reader.string()?),
        b'[' => Value::Texts(reader.strings()?),
        b't' => reader.word("true").map(|()| Value::Bool(true))?,
        b'f' => reader.word("false").map(|()| Value::Bool(false))?,
        _ => Value::Number(reader.integer()?),
    };
    reader.space();
    (reader.at == text.len()).then_some(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text[self.at..]
            .starts_with(word)
            .then(|| self.at += word.len())
    }

    /// `-?(0|[1-9][0-9]*)`, as JSON has it.
    fn integer(&mut self) -> Option<String> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let digits = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        let zero = self.text[digits..self.at].starts_with('0');
        let len = self.at - digits;
        (len == 1 || (len > 1 && !zero)).then(|| self.text[start..self.at].to_owned())
    }

    fn strings(&mut self) -> Option<Vec<String>> {
        let mut items = Vec::new();
        self.eat(b'[')?;
        self.space();
        if self.eat(b']').is_some() {
            return Some(items);
        }
        loop {
            self.space();
            items.push(self.string()?);
            self.space();
            if self.eat(b']').is_some() {
                return Some(items);
            }
            self.eat(b',')?;
        }
    }

    fn string(&mut self) -> Option<String> {
        self.eat(b'"')?;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let c = rest.chars().next()?;
            self.at += c.len_utf8();
            match c {
                '"' => return Some(out),
                '\\' => out.push(self.escape()?),
                c if c < ' ' => return None,
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first);
                }
                self.word("\\u")?;
                let second = self.unit()?;
                let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                return char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + low);
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        self.at += 4;
        u32::from_str_radix(digits, 16).ok().filter(|_| hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Option<Value> {
        Some(Value::Text(s.to_owned()))
    }

    #[test]
    fn values_of_patches() {
        assert_eq!(parse(" true "), Some(Value::Bool(true)));
        assert_eq!(parse("false"), Some(Value::Bool(false)));
        assert_eq!(parse("-12"), Some(Value::Number("-12".into())));
        assert_eq!(parse("0"), Some(Value::Number("0".into())));
        assert_eq!(
            parse(r#""a\"\\\/\b\f\n\r\tz""#),
            text("a\"\\/\u{8}\u{c}\n\r\tz")
        );
        assert_eq!(parse(r#""\u00e9\ud83d\ude00é""#), text("é😀é"));
        assert_eq!(parse("[ ]"), Some(Value::Texts(Vec::new())));
        let two = Value::Texts(vec!["a".into(), "b".into()]);
        assert_eq!(parse(r#"[ "a" , "b" ]"#), Some(two));
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            " ",
            "null",
            "truely",
            "tru",
            "01",
            "-",
            "--1",
            "1.0",
            "1e3",
            "+1",
            "\"",
            "\"a",
            "\"\n\"",
            r#""\x""#,
            r#""\u12"#,
            r#""\ud800""#,
            r#""\ud800\u0041""#,
            r#""\u+123""#,
            r#""\udc00""#,
            "[",
            "[1]",
            "[\"a\"",
            "[\"a\",]",
            "[,]",
            "{}",
            "1 2",
            "\"a\" x",
            "\"\\ué\"",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
