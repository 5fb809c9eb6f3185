#include "mailbox/lock_owner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/cursor.h"
#include "relay/base/digest.h"
#include "relay/base/file.h"
#include "relay/base/must.h"

/* The beginning of a small file of the system; empty when it cannot be read. */
static struct span
read_system_file(const char *path, char *room, size_t room_bytes)
{
	int fd = file_open_read(path, NULL);
	ssize_t got = -1;

	if (fd >= 0)
		got = read(fd, room, room_bytes);
	file_close(&fd);
	return span_trim(span_make(room, got > 0 ? (size_t)got : 0));
}

/* Field 22 of /proc/PID/stat; the name in field 2 may have blanks and brackets. */
uint64_t
lock_owner_process_start(uint64_t pid)
{
	char path[64], room[1024];
	struct span text, word, before;
	uint64_t start = 0;

	(void)snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
	text = read_system_file(path, room, sizeof(room));
	if (!span_split_last(text, ')', &before, &text))
		return 0;
	for (int field = 3; field <= 22; field++)
		if (!span_take_word(&text, &word))
			return 0;
	return span_parse_u64(word, UINT64_MAX, &start) ? start : 0;
}

/* The machine's id is not for others to read (machine-id(5)), so a hash of it is shown. */
static uint64_t
hash_machine(struct span machine_id, struct span host)
{
	struct digest digest;
	uint8_t value[DIGEST_BYTES];

	digest_init(&digest);
	digest_update(&digest, SPAN("chapar mailbox lock\n"));
	digest_update(&digest, machine_id);
	digest_update(&digest, SPAN("\n"));
	digest_update(&digest, host);
	digest_final(&digest, value);
	digest_fini(&digest);
	return cursor_load_u64(value);
}

void
lock_owner_self(struct lock_owner *owner, uint64_t node)
{
	char room[256], host[256] = "";
	struct stat status;
	struct span text;

	*owner = (struct lock_owner){ .node = node, .pid = (uint64_t)getpid() };
	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	text = read_system_file("/etc/machine-id", room, sizeof(room));
	owner->machine = hash_machine(text, span_from_cstr(host));
	text = read_system_file("/proc/sys/kernel/random/boot_id", room, sizeof(room));
	if (text.len < LOCK_OWNER_BOOT_BYTES && text.len > 0)
		memcpy(owner->boot, text.data, text.len);
	if (stat("/proc/self/ns/pid", &status) == 0)
		owner->pid_namespace = status.st_ino;
	owner->start = lock_owner_process_start(owner->pid);
}

size_t
lock_owner_print(const struct lock_owner *owner, char text_out[LOCK_OWNER_TEXT_BYTES_MAX])
{
	int len = snprintf(text_out, LOCK_OWNER_TEXT_BYTES_MAX,
			   "0\nchapar 1 node=%" PRIx64 " machine=%" PRIx64 " boot=%s pidns=%" PRIu64
			   " pid=%" PRIu64 " start=%" PRIu64 "\n",
			   owner->node, owner->machine, owner->boot[0] ? owner->boot : "-",
			   owner->pid_namespace, owner->pid, owner->start);

	must(len > 0 && len < LOCK_OWNER_TEXT_BYTES_MAX);
	return (size_t)len;
}

/* The value of "key=value" at the front of the words that are left. */
static bool
take_value(struct span *words, const char *key, struct span *value_out)
{
	struct span word, name;

	return span_take_word(words, &word) && span_split(word, '=', &name, value_out) &&
	       span_equal_cstr(name, key);
}

static bool
take_number(struct span *words, const char *key, bool hex, uint64_t *number_out)
{
	struct span value;

	if (!take_value(words, key, &value))
		return false;
	return hex ? span_parse_hex(value, number_out)
		   : span_parse_u64(value, UINT64_MAX, number_out);
}

bool
lock_owner_parse(struct span text, struct lock_owner *owner_out)
{
	static const struct span head = { "0\nchapar 1 ", 11 };
	struct span words, boot;

	*owner_out = (struct lock_owner){ 0 };
	if (!span_starts_with(text, head) || !span_ends_with(text, SPAN("\n")))
		return false;
	words = span_trim(span_skip(text, head.len));
	if (!take_number(&words, "node", true, &owner_out->node) ||
	    !take_number(&words, "machine", true, &owner_out->machine) ||
	    !take_value(&words, "boot", &boot) || boot.len >= LOCK_OWNER_BOOT_BYTES ||
	    !take_number(&words, "pidns", false, &owner_out->pid_namespace) ||
	    !take_number(&words, "pid", false, &owner_out->pid) ||
	    !take_number(&words, "start", false, &owner_out->start) || words.len > 0)
		return false;
	if (!span_equal_cstr(boot, "-"))
		memcpy(owner_out->boot, boot.data, boot.len);
	return owner_out->pid > 0;
}

static bool
system_process_lives(const struct lock_witness *witness, uint64_t pid, uint64_t *start_out)
{
	(void)witness;
	*start_out = 0;
	if (pid > INT32_MAX || (kill((pid_t)pid, 0) < 0 && errno == ESRCH))
		return false;
	*start_out = lock_owner_process_start(pid);
	return true;
}

const struct lock_witness *
lock_witness_system(void)
{
	static const struct lock_witness witness = { .process_lives = system_process_lives };

	return &witness;
}

bool
lock_owner_is_gone(const struct lock_owner *owner, const struct lock_owner *self,
		   const struct lock_witness *witness)
{
	uint64_t start;

	if (owner->machine != self->machine)
		return false;
	/* One job at a time works on a box of a node, so it is not a lock of this life. */
	if (owner->node == self->node)
		return true;
	if (owner->boot[0] == '\0' || self->boot[0] == '\0')
		return false;
	if (strcmp(owner->boot, self->boot) != 0)
		return true;
	if (owner->pid_namespace == 0 || owner->pid_namespace != self->pid_namespace)
		return false;
	if (!witness->process_lives(witness, owner->pid, &start))
		return true;
	return start != 0 && owner->start != 0 && start != owner->start;
}
