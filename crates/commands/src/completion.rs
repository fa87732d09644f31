//! `completion SHELL`: scripts that ask this program what could come next.
//!
//! The scripts know nothing but how to ask (`hoist __complete WORD…`, the last word being the unfinished one) and how to
//! show the answer: one candidate per line, a tab, what it is; `:files` where a file name belongs.

mod candidates;

use crate::cli::{Args, Command, Parsed};
use crate::context::Context;
use crate::failure::{Failure, Outcome};

/// Table of `completion`.
pub(crate) const COMMAND: Command = Command {
    spellings: &["completion"],
    usage: "(bash|zsh|fish)",
    about: "Generate the autocompletion script for the specified shell",
    flags: &[],
    args: Args::Exactly(1),
    interspersed: true,
    run,
};

/// Table of the command that the scripts call.
pub(crate) const ASK: Command = Command {
    spellings: &["__complete"],
    usage: "[WORD...]",
    about: "Say what could come next on a command line",
    flags: &[],
    args: Args::AtLeast(0),
    interspersed: false,
    run: |context, parsed| candidates::print(context, &parsed.args),
};

fn run(context: &Context, parsed: &Parsed) -> Outcome {
    let script = match parsed.args[0].as_str() {
        "bash" => BASH,
        "zsh" => ZSH,
        "fish" => FISH,
        other => {
            return Err(Failure::new(format!(
                "{}: no completions for {other}, only for bash, zsh and fish",
                context.program
            )));
        }
    };
    crate::out::text(&script.replace("PROGRAM", context.program))
}

const BASH: &str = r#"# bash completion for PROGRAM
_PROGRAM_complete() {
    local words=("${COMP_WORDS[@]:1:COMP_CWORD}") line value
    # bash breaks words at colons and equal signs; here they belong to the word.
    local line_so_far="${COMP_LINE:0:COMP_POINT}" current
    if declare -F _get_comp_words_by_ref >/dev/null; then
        local cword
        _get_comp_words_by_ref -n =: -w words -i cword
        words=("${words[@]:1:cword}")
    fi
    current="${words[${#words[@]}-1]}"
    COMPREPLY=()
    local files=
    while IFS= read -r line; do
        if [[ $line == :files ]]; then files=1; continue; fi
        COMPREPLY+=("${line%%$'\t'*}")
    done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
    if [[ -n $files ]]; then
        compopt -o filenames 2>/dev/null
        while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current")
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    # What bash took for words of their own is not written twice.
    if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
        local head="${current%"${current##*:}"}" i
        for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]="${COMPREPLY[i]#"$head"}"; done
    fi
}
complete -F _PROGRAM_complete PROGRAM
"#;

const ZSH: &str = r#"#compdef PROGRAM
_PROGRAM() {
    local -a found shown
    local line value what files=0
    while IFS= read -r line; do
        if [[ $line == :files ]]; then files=1; continue; fi
        value=${line%%$'\t'*}
        what=${line#*$'\t'}
        found+=("$value")
        [[ $what == $line ]] && what=
        shown+=("${value}${what:+  -- $what}")
    done < <("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( ${#found} )) && compadd -l -d shown -a found
    (( files )) && _files
}
if [[ $funcstack[1] == _PROGRAM ]]; then
    _PROGRAM "$@"
else
    compdef _PROGRAM PROGRAM
fi
"#;

const FISH: &str = r#"# fish completion for PROGRAM
function __PROGRAM_complete
    set -l words (commandline -opc)
    set -e words[1]
    set -l current (commandline -ct)
    for line in (PROGRAM __complete $words "$current" 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path "$current"
        else
            echo $line
        end
    end
end
complete -c PROGRAM -f -a '(__PROGRAM_complete)'
"#;
