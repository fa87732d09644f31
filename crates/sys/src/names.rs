//! How the C library looks up host names in a program that is linked statically.

/// Host names come from `/etc/hosts` and DNS, whatever `/etc/nsswitch.conf` says: for other sources a static program would
/// load the machine's modules, which belong to the machine's C library and not to the one that is linked in
/// (`__nss_configure_lookup` of `<nss.h>`; glibc's FAQ on static programs). Nothing in a dynamic program.
///
/// Call it before other threads are there.
pub fn without_modules() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    {
        unsafe extern "C" {
            fn __nss_configure_lookup(database: *const libc::c_char, services: *const libc::c_char) -> libc::c_int;
        }
        // SAFETY: both are NUL-terminated and static; the caller has no other threads, so nobody looks a name up meanwhile.
        unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
    }
}
