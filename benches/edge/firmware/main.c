/* Runs the readings of samples.h; prints step, decision, the bits of the scores, and the checksum of the
   whole state. */
#include <stdint.h>
#include "network.h"
#include "samples.h"

void board_write(const char *text);

#ifndef STEPS
#define STEPS SAMPLES_STEPS
#endif
#ifndef PRINT
#define PRINT 1
#endif

static char line[29 + 9 * NETWORK_OUTPUTS];

static char *hex(char *at, uint32_t word)
{
    int shift;
    for (shift = 28; shift >= 0; shift -= 4) {
        *at++ = "0123456789abcdef"[(word >> shift) & 15u];
    }
    *at++ = ' ';
    return at;
}

int main(void)
{
    static network_state state;
    static network_output output;
    uint32_t step;
    uint32_t seen = 0u;
    network_reset(&state);
    for (step = 0u; step < STEPS; ++step) {
        network_step(&state, &SAMPLES[(step % SAMPLES_STEPS) * NETWORK_INPUTS], &output);
        seen += output.decision;
#if PRINT
        {
            static uint8_t saved[NETWORK_SAVED_BYTES];
            union { uint32_t bits; int32_t integer; float number; } word;
            char *at = hex(line, step + 1u);
            uint32_t i;
            at = hex(at, output.decision);
            for (i = 0u; i < NETWORK_OUTPUTS; ++i) {
                if (SAMPLES_FLOAT) {
                    word.number = (float)output.scores[i];
                } else {
                    word.integer = (int32_t)output.scores[i];
                }
                at = hex(at, word.bits);
            }
            /* The last word of a saved state is the checksum of the others. */
            network_save(&state, saved);
            word.bits = 0u;
            for (i = 0u; i < 4u; ++i) {
                word.bits |= (uint32_t)saved[NETWORK_SAVED_BYTES - 4u + i] << (8u * i);
            }
            at = hex(at, word.bits);
            *at++ = '\n';
            *at = '\0';
            board_write(line);
        }
#endif
        if (NETWORK_WINDOW != 0u && (step + 1u) % (NETWORK_WINDOW + (NETWORK_WINDOW == 0u)) == 0u) {
            network_reset(&state);
        }
    }
    return (PRINT == 0) && (seen == 0xFFFFFFFFu);
}
