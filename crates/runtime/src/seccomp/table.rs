//! Names and numbers of system calls, by architecture.

mod aarch64;
mod x32;
mod x86;
mod x86_64;

use super::Arch;

/// The number of a call, if this architecture has it. x32 numbers come without the bit that marks them.
pub(super) fn number(arch: Arch, name: &str) -> Option<u32> {
    let table = table(arch);
    table.binary_search_by(|(own, _)| (*own).cmp(name)).ok().map(|at| table[at].1)
}

fn table(arch: Arch) -> &'static [(&'static str, u32)] {
    match arch {
        Arch::X86_64 => x86_64::TABLE,
        Arch::X86 => x86::TABLE,
        Arch::X32 => x32::TABLE,
        Arch::Aarch64 => aarch64::TABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_right_in_places() {
        for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64] {
            assert!(table(arch).windows(2).all(|pair| pair[0].0 < pair[1].0), "{arch:?}");
        }
        for (arch, name, expect) in [
            (Arch::X86_64, "read", Some(0)),
            (Arch::X86_64, "clone3", Some(435)),
            (Arch::X86_64, "mseal", Some(462)),
            (Arch::X86_64, "socketcall", None),
            (Arch::X86, "exit", Some(1)),
            (Arch::X86, "socketcall", Some(102)),
            (Arch::X86, "clone3", Some(435)),
            (Arch::X32, "read", Some(0)),
            (Arch::X32, "execve", Some(520)),
            (Arch::Aarch64, "openat", Some(56)),
            (Arch::Aarch64, "open", None),
            (Arch::X86_64, "", None),
            (Arch::X86_64, "uretprobe", Some(335)),
            (Arch::X32, "uretprobe", Some(335)),
            (Arch::X32, "map_shadow_stack", Some(453)),
        ] {
            assert_eq!(number(arch, name), expect, "{arch:?} {name}");
        }
    }

    /// Since 424 every architecture gives a new call the same number, those of `asm-generic/unistd.h` of Linux 6.17.
    #[test]
    fn new_calls_have_one_number() {
        let names = "fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount lsm_get_self_attr \
            lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat removexattrat open_tree_attr \
            file_getattr file_setattr";
        for (expect, name) in (452..).zip(names.split_ascii_whitespace()) {
            for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64] {
                assert_eq!(number(arch, name), Some(expect), "{arch:?} {name}");
            }
        }
    }

    #[test]
    fn old_calls_have_their_own() {
        for (arch, name, expect) in [(Arch::X86, "uretprobe", None), (Arch::Aarch64, "uretprobe", None)] {
            assert_eq!(number(arch, name), expect, "{arch:?} {name}");
        }
    }
}
