/* Start-up of a Cortex-M on QEMU's mps2 boards; what it prints goes through semihosting. */
#include <stddef.h>
#include <stdint.h>

int main(void);
void board_write(const char *text);
void reset(void);
extern uint32_t bss_start, bss_end;

static int semihost(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt #0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void board_write(const char *text)
{
    (void)semihost(4, text);
}

void reset(void)
{
    uint32_t *word;
    uint32_t end[2] = {0x20026u, 0u};
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xF00000u;
    __asm__ volatile("dsb\n\tisb");
#endif
    for (word = &bss_start; word < &bss_end; ++word) {
        *word = 0u;
    }
    end[1] = (uint32_t)main();
    (void)semihost(0x20, end);
    for (;;) {
    }
}

static void hang(void)
{
    uint32_t end[2] = {0x20026u, 99u};
    (void)semihost(0x20, end);
    for (;;) {
    }
}

/* The compiler makes these of loops. */
void *memset(void *to, int value, size_t len)
{
    uint8_t *bytes = to;
    const uint32_t word = (uint32_t)(uint8_t)value * 0x01010101u;
    while (len >= 4u && ((uintptr_t)bytes & 3u) == 0u) {
        *(volatile uint32_t *)(void *)bytes = word;
        bytes += 4;
        len -= 4u;
    }
    while (len > 0u) {
        *(volatile uint8_t *)bytes++ = (uint8_t)value;
        --len;
    }
    return to;
}

void *memcpy(void *to, const void *from, size_t len)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    while (len > 0u) {
        *(volatile uint8_t *)out++ = *in++;
        --len;
    }
    return to;
}

extern uint32_t stack_top;
__attribute__((section(".vectors"), used)) const void *const vectors[8] = {
    &stack_top, (const void *)reset, (const void *)hang, (const void *)hang,
    (const void *)hang, (const void *)hang, (const void *)hang, (const void *)hang};
