/* Start-up of a bare Cortex-A53 on QEMU's virt board, for counting instructions. */
#include <stddef.h>
#include <stdint.h>

int main(void);
void board_write(const char *text);
void entry(void);

void board_write(const char *text)
{
    (void)text;
}

__asm__(".section .start,\"ax\"\n.global _start\n_start:\n"
        "mov x0, #(3 << 20)\nmsr cpacr_el1, x0\nisb\n"
        "ldr x0, =stack_top\nmov sp, x0\nbl entry\nb .\n.text\n");

void entry(void)
{
    static volatile uint64_t block[2] = {0x20026u, 0u};
    block[1] = (uint64_t)main();
    register uint64_t x0 __asm__("x0") = 0x20u;
    register volatile uint64_t *x1 __asm__("x1") = block;
    __asm__ volatile("hlt #0xf000" : : "r"(x0), "r"(x1) : "memory");
    for (;;) {
    }
}

void *memset(void *to, int value, size_t len)
{
    volatile uint8_t *bytes = to;
    volatile uint64_t *words = to;
    const uint64_t word = (uint64_t)(uint8_t)value * 0x0101010101010101u;
    size_t i = 0;
    if (((uintptr_t)to & 7u) == 0u) {
        for (; (i + 1u) * 8u <= len; ++i) {
            words[i] = word;
        }
    }
    for (i *= 8u; i < len; ++i) {
        bytes[i] = (uint8_t)value;
    }
    return to;
}

void *memcpy(void *to, const void *from, size_t len)
{
    volatile uint8_t *out = to;
    const uint8_t *in = from;
    size_t i;
    for (i = 0; i < len; ++i) {
        out[i] = in[i];
    }
    return to;
}
