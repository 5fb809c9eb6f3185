/*
 * Who made a dot lock, as the lock itself says, and whether that one is gone.
 *
 * The first line is "0", which liblockfile takes for "ask the age": a bare pid would be judged by
 * programs in other pid namespaces or on other hosts, to whom it means nothing.  The second line
 * is for ourselves:
 *
 *	chapar 1 node=HEX machine=HEX boot=UUID pidns=N pid=N start=N
 *
 * The owner is provably gone when it was this very node, whose spool only one process can hold
 * (so it was a life before this one); or a process of this machine that an earlier boot had; or
 * one of this boot and pid namespace that does not live any more, or whose pid has a later
 * process now.
 */
#ifndef MAILBOX_LOCK_OWNER_H
#define MAILBOX_LOCK_OWNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/span.h"

enum {
	LOCK_OWNER_TEXT_BYTES_MAX = 512,
	LOCK_OWNER_BOOT_BYTES = 40,
};

/* Who holds a lock: one process of one node. */
struct lock_owner {
	uint64_t node;                  /* id of the node, kept in its spool */
	uint64_t machine;               /* from /etc/machine-id and the host name */
	char boot[LOCK_OWNER_BOOT_BYTES];        /* "" where the system does not say */
	uint64_t pid_namespace;         /* 0 where the system does not say */
	uint64_t pid;
	uint64_t start;                 /* of the process, in ticks since boot; 0 if not known */
};

/* This process.  Reads /proc; call it once. */
void lock_owner_self(struct lock_owner *owner, uint64_t node);

/* Start of the process PID as lock_owner has it: 0 when there is none, or nobody says. */
uint64_t lock_owner_process_start(uint64_t pid);

/* Its text, at most LOCK_OWNER_TEXT_BYTES_MAX with the NUL; returns its length. */
size_t lock_owner_print(const struct lock_owner *owner, char text_out[LOCK_OWNER_TEXT_BYTES_MAX]);

/* False when it is no lock of ours. */
bool lock_owner_parse(struct span text, struct lock_owner *owner_out);

/* What we learn of a process: does it live, and since when. */
struct lock_witness {
	bool (*process_lives)(const struct lock_witness *witness, uint64_t pid,
			      uint64_t *start_out);
};

const struct lock_witness *lock_witness_system(void);

/* Is the owner of a lock provably gone, seen from ourselves? */
bool
lock_owner_is_gone(const struct lock_owner *owner, const struct lock_owner *self,
		   const struct lock_witness *witness);

#endif
