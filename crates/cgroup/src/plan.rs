//! A limit as data: which file gets which value.

use std::borrow::Cow;

use crate::Controller;

/// One value for one file of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub controller: Controller,
    pub file: Cow<'static, str>,
    pub value: String,
    /// What to write instead where the kernel does not have `file`.
    pub instead: Option<(Cow<'static, str>, String)>,
    /// It is no error that the kernel does not have the file: the value is what holds without it.
    pub optional: bool,
    /// It is no error that an outer cgroup forbids it.
    pub yields: bool,
    /// The kernel compares this value with the next write's: if it answers EINVAL, the next write goes first.
    pub paired: bool,
}

impl Write {
    pub(crate) fn new(controller: Controller, file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        Self {
            controller,
            file: file.into(),
            value: value.to_string(),
            instead: None,
            optional: false,
            yields: false,
            paired: false,
        }
    }

    pub(crate) fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    pub(crate) fn optional_if(self, optional: bool) -> Self {
        Self { optional, ..self }
    }

    pub(crate) fn yields(self) -> Self {
        Self { yields: true, ..self }
    }

    pub(crate) fn paired(self) -> Self {
        Self { paired: true, ..self }
    }

    pub(crate) fn or(self, file: impl Into<Cow<'static, str>>, value: impl ToString) -> Self {
        Self { instead: Some((file.into(), value.to_string())), ..self }
    }
}

/// A page size as it appears in file names ("2MB"), or nothing if it could be something else.
pub(crate) fn page_size(text: &str) -> Option<&str> {
    let digits = text.strip_suffix("KB").or_else(|| text.strip_suffix("MB")).or_else(|| text.strip_suffix("GB"))?;
    (!digits.is_empty() && digits.len() <= 10 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

/// One word without white space or control characters, for the names of interfaces and adapters.
pub(crate) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 255 && text.chars().all(|c| !c.is_whitespace() && !c.is_control())
}

#[cfg(test)]
pub(crate) fn golden(writes: &[Write]) -> String {
    let mut text = String::new();
    for write in writes {
        text += &format!("{}={}", write.file, write.value);
        if let Some((file, value)) = &write.instead {
            text += &format!(" or {file}={value}");
        }
        for (set, mark) in [(write.optional, " optional"), (write.yields, " yields"), (write.paired, " paired")] {
            text += if set { mark } else { "" };
        }
        text.push('\n');
    }
    text
}
