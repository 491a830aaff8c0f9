/* Reads NETWORK_INPUTS numbers a step from standard input; prints step, decision and scores. */
#include <stdio.h>
#include "network.h"

int main(void)
{
    static network_state state;
    network_output output;
    float x[NETWORK_INPUTS];
    unsigned long step = 0;
    int i;
    network_reset(&state);
    for (;;) {
        for (i = 0; i < NETWORK_INPUTS; ++i) {
            if (scanf("%f", &x[i]) != 1) {
                return 0;
            }
        }
        network_step(&state, x, &output);
        ++step;
        printf("%lu %lu", step, (unsigned long)output.decision);
        for (i = 0; i < NETWORK_OUTPUTS; ++i) {
            printf(" FORMAT", CASToutput.scores[i]);
        }
        printf("\n");
        if (NETWORK_WINDOW != 0u && step % (NETWORK_WINDOW + (NETWORK_WINDOW == 0u)) == 0) {
            network_reset(&state);
        }
    }
}
