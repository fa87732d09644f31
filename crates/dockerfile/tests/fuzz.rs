//! Any bytes give a result or an error, never a panic.

use std::collections::BTreeMap;

use dockerfile::ignore::Patterns;
use dockerfile::lint::{self, Surroundings};

const SEEDS: &[&[u8]] = &[
    b"# syntax=docker/dockerfile:1\n# escape=`\nARG V=1\nFROM --platform=$BUILDPLATFORM debian:${V:-2} AS build\nRUN --mount=type=cache,target=/x,id=$V <<EOF\necho hi\nEOF\nCOPY --from=build --chown=1:2 a b /c/\n",
    b"FROM scratch\nENV a=b c=\"d $a\" e='f'\nLABEL x y\nHEALTHCHECK --interval=5s CMD [\"a\", \"b\"]\nONBUILD RUN x\nSHELL [\"/bin/sh\"]\nEXPOSE 80/tcp\nVOLUME [\"/d\"]\n",
    b"FROM a\nCOPY <<-\"one\" <<two /d/\n\tx\none\ny\ntwo\nRUN a \\\n # c\n\n b\nUSER ${x%%a*}${y//b/c}${z:?no}\n",
];

const TOKENS: &[&[u8]] = &[
    b"<<EOF",
    b"\\\n",
    b"${",
    b"}",
    b"[\"",
    b"\"]",
    b"--",
    b"--mount=",
    b"ONBUILD ",
    b"\nFROM ",
    b"# ",
    b"'",
    b"\"",
    b"**",
    b"!",
];

#[test]
fn no_input_breaks_the_parser() {
    let arguments = BTreeMap::new();
    fuzz::run(SEEDS, TOKENS, |input| {
        let text = String::from_utf8_lossy(input);
        match dockerfile::parse(&text) {
            Ok(file) => {
                let surroundings = Surroundings {
                    check: &file.directives.check,
                    built: &|_| true,
                    arguments: &arguments,
                    base_environment: &|_| None,
                    ignored: &Patterns::default(),
                };
                let _ = lint::check(&file, surroundings);
            }
            Err(error) => {
                let _ = lint::check_above(&text, &error, None);
                let _ = error.render("Dockerfile", &text);
            }
        }
    });
}

#[test]
fn no_input_breaks_the_ignore_file() {
    fuzz::run(&[b"a/**/b\n!a/[b-c]/\\*\n# c\n/x/../y\n"], &[b"**", b"[", b"]", b"!", b"\\", b"/"], |input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(patterns) = Patterns::parse(&text) {
            let _ = (patterns.excludes(b"a/b/c"), patterns.may_include_below(b"a"));
        }
    });
}
