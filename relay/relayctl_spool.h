#ifndef RELAY_RELAYCTL_SPOOL_H
#define RELAY_RELAYCTL_SPOOL_H

/*
 * `relayctl spool ...`: a spool with its daemon off.  argv begins behind the word
 * "spool"; the result is the exit code.
 */
int relayctl_spool(int argc, char **argv);

#endif
