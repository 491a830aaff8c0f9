/* Saves after every step, damages every byte of a copy, feeds readings that are none. */
#include <stdio.h>
#include <string.h>
#include "network.h"

#define CHECK(condition) do { if (!(condition)) { printf("line %d\n", __LINE__); return 1; } } while (0)

static void readings(float *x, int step)
{
    int i;
    for (i = 0; i < NETWORK_INPUTS; ++i) {
        x[i] = (float)((step * 7 + i * 5) % 11) / 2.0f - 2.5f;
    }
}

int main(void)
{
    static network_state whole, cut, other;
    static uint8_t bytes[NETWORK_SAVED_BYTES], damaged[NETWORK_SAVED_BYTES];
    network_output a, b;
    float x[NETWORK_INPUTS];
    volatile float zero = 0.0f;
    unsigned i;
    int step;
    network_reset(&whole);
    network_reset(&cut);
    for (step = 0; step < 30; ++step) {
        readings(x, step);
        network_step(&whole, x, &a);
        network_save(&cut, bytes);
        memset(&cut, 0xA5, sizeof cut);
        CHECK(network_restore(&cut, bytes) == 1);
        network_step(&cut, x, &b);
        CHECK(memcmp(a.scores, b.scores, sizeof a.scores) == 0 && a.decision == b.decision);
    }
    network_save(&whole, bytes);
    for (i = 0; i < NETWORK_SAVED_BYTES; ++i) {
        memcpy(damaged, bytes, sizeof bytes);
        damaged[i] ^= 0x10u;
        CHECK(network_restore(&other, damaged) == 0);
        /* Half written over an older copy. */
        memcpy(damaged, bytes, i);
        memset(damaged + i, 0xFF, sizeof bytes - i);
        CHECK(network_restore(&other, damaged) == 0);
    }
    /* A refused copy leaves the start of a sequence; a lost sample counts as the mean, 0 here. */
    network_reset(&cut);
    for (step = 0; step < 20; ++step) {
        readings(x, step);
        x[1] = step % 3 == 0 ? 0.0f / zero : (step % 3 == 1 ? 1.0f / zero : -1.0f / zero);
        network_step(&other, x, &a);
        x[1] = 0.0f;
        network_step(&cut, x, &b);
        CHECK(memcmp(a.scores, b.scores, sizeof a.scores) == 0);
        /* A sample that was lost. */
        for (i = 0; i < NETWORK_INPUTS; ++i) {
            x[i] = 0.0f / zero;
        }
        network_step(&other, x, &a);
        memset(x, 0, sizeof x);
        network_step(&cut, x, &b);
        CHECK(memcmp(a.scores, b.scores, sizeof a.scores) == 0);
    }
    printf("ok\n");
    return 0;
}
