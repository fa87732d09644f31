# The program of the image hoist/hello: writes a greeting and ends. x86-64 Linux, no libraries.
#
# Build, in this directory:
#   as hello.s -o hello.o && ld -n -s -z noseparate-code --build-id=none hello.o -o hello.x86_64 && rm hello.o

        .intel_syntax noprefix
        .global _start
        .text
_start: lea     rsi, [rip + text]
        mov     edx, offset text_length
next:   mov     edi, 1                  # standard output
        mov     eax, 1                  # write(2)
        syscall
        test    rax, rax
        jle     done
        add     rsi, rax
        sub     rdx, rax
        jnz     next
done:   xor     edi, edi
        mov     eax, 60                 # exit(2)
        syscall

text:   .ascii  "Hello from hoist!\n"
        .ascii  "\n"
        .ascii  "This greeting shows that your installation works:\n"
        .ascii  " 1. The client asked the daemon, hoistd, for a container of the image hoist/hello.\n"
        .ascii  " 2. The image is built into the daemon: no registry was needed for it.\n"
        .ascii  " 3. The spawner forked a shim, the shim made the container and ran the program\n"
        .ascii  "    that prints this, isolated by namespaces, a cgroup and a seccomp filter.\n"
        .ascii  " 4. The shim passed the output to the daemon, which sent it to your client.\n"
        .ascii  "\n"
        .ascii  "Something larger to try:  hoist run -it debian bash\n"
        .set    text_length, . - text
