#include "mailbox/mailbox_config.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "mailbox/forward_config.h"
#include "mailbox/mbox_lock.h"
#include "relay/base/mem.h"
#include "relay/daemon/privilege.h"

static const struct conf_option node_options[] = {
	NODE_CONFIG_NODE_OPTIONS("/run/chapar/mailboxd.sock"),
	{ .name = "spool", .type = CONF_STRING, .fallback = "/var/lib/chapar-mail/journal",
	  .check = node_config_check_path, .needs_restart = true,
	  .help = "Directory for the journal of deliveries; made if it is not there." },
	{ .name = "allow_volatile_spool", .type = CONF_BOOL, .fallback = "no",
	  .needs_restart = true,
	  .help = "Start although the spool is on a file system that forgets (tmpfs, overlay)." },
	{ .name = "box_threads", .type = CONF_INT, .fallback = "16", .min = 1, .max = 256,
	  .needs_restart = true,
	  .help = "Threads that write to boxes; they wait for the disk most of the time." },
	{ .name = "remember", .type = CONF_DURATION, .fallback = "7d", .min = 60 * 1000,
	  .max = INT64_C(366) * 24 * 3600 * 1000, .needs_restart = true,
	  .help = "How long a delivery is remembered, so that the same one by another way is not "
		  "made twice; longer than relays keep trying." },
	{ .name = "memory", .type = CONF_SIZE, .fallback = "64M", .min = 1 << 20,
	  .needs_restart = true,
	  .help = "Memory for messages that arrive; above it they go to temporary files." },
	{ .name = "received_max", .type = CONF_INT, .fallback = "50", .min = 5, .max = 1000,
	  .help = "A message with more Received fields is in a loop and refused." },
};

static const struct conf_option boxes_options[] = {
	{ .name = "fold_case", .type = CONF_BOOL, .fallback = "yes",
	  .help = "Whether User@ and user@ are the same box." },
	{ .name = "separators", .type = CONF_STRING, .fallback = "+", .example = "+-",
	  .help = "Characters that begin a detail: user+detail@ is delivered to user@; empty for "
		  "none." },
	{ .name = "postmaster", .type = CONF_STRING, .example = "admin@example.net",
	  .help = "Address that gets mail for postmaster; unset: the first box." },
	{ .name = "owner", .type = CONF_STRING, .example = "chapar-mail",
	  .help = "User who must own the files of boxes; unset: the one mailboxd runs as." },
	{ .name = "dot_lock", .type = CONF_BOOL, .fallback = "yes",
	  .help = "Take a dot lock beside the fcntl lock; needs the right to write to the "
		  "directory." },
	{ .name = "create", .type = CONF_BOOL, .fallback = "yes",
	  .help = "Make a box that is not there at its first message." },
	{ .name = "lock_wait", .type = CONF_DURATION, .fallback = "30s", .min = 0,
	  .max = 10 * 60 * 1000,
	  .help = "How long a message waits for a locked box; then the relay is asked to come "
		  "again." },
	{ .name = "quota", .type = CONF_SIZE, .fallback = "0", .max = INT64_MAX,
	  .help = "How large a box may become; 0 for no bound.  Without one the file maildirsize "
		  "of a Maildir holds, if there is one." },
	{ .name = "quota_messages", .type = CONF_INT, .fallback = "0", .min = 0,
	  .max = INT32_MAX,
	  .help = "How many messages a box may hold; 0 for no bound.  An mbox is read whole when "
		  "others changed it." },
	{ .name = "quota_patience", .type = CONF_DURATION, .fallback = "5d", .min = 0,
	  .max = INT64_C(366) * 24 * 3600 * 1000,
	  .help = "A full box is answered 452; when it has been full for so long without a break "
		  "since the start, 552; 0 for never." },
};

static const struct conf_option box_options[] = {
	{ .name = "file", .type = CONF_STRING, .check = node_config_check_path,
	  .example = "/var/mail/user", .help = "The mbox file." },
	{ .name = "maildir", .type = CONF_STRING, .check = node_config_check_path,
	  .example = "/var/mail/user.maildir", .help = "A Maildir, in place of file." },
	{ .name = "owner", .type = CONF_STRING, .example = "user",
	  .help = "User who must own it; unset: as in boxes." },
	{ .name = "dot_lock", .type = CONF_BOOL, .help = "As in boxes." },
	{ .name = "create", .type = CONF_BOOL, .help = "As in boxes." },
	{ .name = "lock_wait", .type = CONF_DURATION, .min = 0, .max = 10 * 60 * 1000,
	  .example = "30s", .help = "As in boxes." },
	{ .name = "quota", .type = CONF_SIZE, .max = INT64_MAX, .example = "1G",
	  .help = "As in boxes." },
	{ .name = "quota_messages", .type = CONF_INT, .min = 0, .max = INT32_MAX,
	  .example = "10000", .help = "As in boxes." },
	{ .name = "quota_patience", .type = CONF_DURATION, .min = 0,
	  .max = INT64_C(366) * 24 * 3600 * 1000, .example = "5d", .help = "As in boxes." },
};

static const struct conf_option alias_options[] = {
	{ .name = "to", .type = CONF_STRING_LIST, .required = true, .min = 1,
	  .max = BOXES_TARGETS_MAX, .example = "user@example.net",
	  .help = "Boxes or aliases that each get a copy; with a section forward, addresses of "
		  "other domains, too." },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct conf_section sections[] = {
	NODE_CONFIG_NODE_SECTION(node_options),
	NODE_CONFIG_TLS_SECTION,
	NODE_CONFIG_LISTENER_SECTION,
	NODE_CONFIG_LIMITS_SECTION,
	NODE_CONFIG_LOG_SECTION,
	NODE_CONFIG_METRICS_SECTION,
	{ .name = "boxes", .options = boxes_options, .options_count = COUNT(boxes_options),
	  .help = "What holds for all boxes." },
	{ .name = "box", .titled = true, .required = true, .example_title = "user@example.net",
	  .options = box_options, .options_count = COUNT(box_options),
	  .help = "A mailbox and its address; \"@example.net\" takes what no other box of the "
		  "domain does, \"@*.example.net\" the same for domains below it." },
	{ .name = "alias", .titled = true, .example_title = "sales@example.net",
	  .options = alias_options, .options_count = COUNT(alias_options),
	  .help = "An address that stands for others." },
	{ .name = "forward", .options = forward_config_options,
	  .options_count = FORWARD_CONFIG_OPTION_COUNT,
	  .help = "The relay that takes copies for addresses elsewhere; without it no alias may "
		  "lead there." },
};

const struct conf_schema mailbox_config_schema = {
	.file_name = "mailboxd.conf",
	.help = "Configuration of mailboxd, the node where mail arrives for people.",
	.sections = sections,
	.sections_count = COUNT(sections),
};

/* ------------------------------------------------------------------- reading */

/* What a box takes from the section "boxes". */
struct defaults {
	const struct conf_block *block;
	uid_t service_uid;
};

/* Who mailboxd will run as. */
static int
find_service_uid(const struct mailbox_config *config, const struct conf *conf, uid_t *uid_out,
		 struct err *err)
{
	struct privilege privilege;

	if (privilege_find(&privilege, config->node.user, config->node.group, err) < 0)
		return conf_fail(conf_block(conf, "node"), "user", err, "%s", err->text);
	*uid_out = privilege.uid;
	return 0;
}

static int
find_owner(const struct conf_block *block, uid_t fallback, uid_t *uid_out, struct err *err)
{
	const char *owner = conf_string(block, "owner");
	const struct passwd *entry;
	uint32_t number;

	*uid_out = fallback;
	if (owner == NULL)
		return 0;
	if (span_parse_u32(span_from_cstr(owner), INT32_MAX, &number)) {
		*uid_out = (uid_t)number;
		return 0;
	}
	entry = getpwnam(owner);
	if (entry == NULL)
		return conf_fail(block, "owner", err, "there is no user \"%s\"", owner);
	*uid_out = entry->pw_uid;
	return 0;
}

static int
read_path(struct mailbox_config *config, const struct conf_block *block, const char *option,
	  const char **path_out, struct err *err)
{
	char *path = conf_path(block, option);
	char *cwd = NULL, *absolute = NULL;

	if (path[0] != '/') {
		cwd = getcwd(NULL, 0);
		if (cwd == NULL) {
			mem_free(&path);
			return err_set_errno(err, "the current directory");
		}
		absolute = mem_format("%s/%s", cwd, path);
		mem_free(&cwd);
		mem_free(&path);
		path = absolute;
	}
	*path_out = arena_dup_cstr(&config->arena, path);
	mem_free(&path);
	return 0;
}

/* What the box says itself, else what holds for all. */
static const struct conf_block *
who_says(const struct conf_block *block, const struct defaults *defaults, const char *option)
{
	return conf_is_written(block, option) ? block : defaults->block;
}

static bool
box_bool(const struct conf_block *block, const struct defaults *defaults, const char *option)
{
	return conf_bool(who_says(block, defaults, option), option);
}

static uint64_t
box_duration_ms(const struct conf_block *block, const struct defaults *defaults,
		const char *option)
{
	return conf_duration_ms(who_says(block, defaults, option), option);
}

/* Where it is: a file or a Maildir, and not both. */
static int
read_place(struct mailbox_config *config, const struct conf_block *block, struct box *box,
	   struct err *err)
{
	bool is_maildir = conf_is_written(block, "maildir");
	const char *option = is_maildir ? "maildir" : "file";
	const char *name;

	if (is_maildir == conf_is_written(block, "file"))
		return conf_fail(block, is_maildir ? "maildir" : NULL, err,
				 "expected either file or maildir");
	box->kind = is_maildir ? BOXES_MAILDIR : BOXES_MBOX;
	if (read_path(config, block, option, &box->path, err) < 0)
		return -1;
	name = strrchr(box->path, '/') + 1;
	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return conf_fail(block, option, err, "expected the name of a %s",
				 is_maildir ? "directory, without a slash behind it" : "file");
	if (strlen(name) > MBOX_NAME_BYTES_MAX)
		return conf_fail(block, option, err, "expected a name of at most %d octets",
				 MBOX_NAME_BYTES_MAX);
	return 0;
}

static int
read_box(struct mailbox_config *config, const struct conf_block *block,
	 const struct defaults *defaults, struct err *err)
{
	struct box box = {
		.dot_lock = box_bool(block, defaults, "dot_lock"),
		.create = box_bool(block, defaults, "create"),
		.lock_wait_ms = box_duration_ms(block, defaults, "lock_wait"),
		.quota = {
			.bytes = conf_size(who_says(block, defaults, "quota"), "quota"),
			.messages = (uint64_t)conf_int(who_says(block, defaults, "quota_messages"),
						       "quota_messages"),
		},
		.quota_patience_ms = box_duration_ms(block, defaults, "quota_patience"),
	};
	uid_t fallback;

	if (find_owner(defaults->block, defaults->service_uid, &fallback, err) < 0 ||
	    find_owner(block, fallback, &box.uid, err) < 0 ||
	    read_place(config, block, &box, err) < 0)
		return -1;
	if (boxes_add(config->boxes, span_from_cstr(conf_block_title(block)), &box, err) < 0)
		return conf_fail(block, NULL, err, "%s", err->text);
	return 0;
}

static int
read_alias(struct mailbox_config *config, const struct conf_block *block, struct err *err)
{
	struct span targets[BOXES_TARGETS_MAX];
	size_t count = conf_list_count(block, "to");

	for (size_t i = 0; i < count && i < BOXES_TARGETS_MAX; i++)
		targets[i] = span_from_cstr(conf_list_string(block, "to", i));
	if (boxes_add_alias(config->boxes, span_from_cstr(conf_block_title(block)), targets, count,
			    err) < 0)
		return conf_fail(block, NULL, err, "%s", err->text);
	return 0;
}

/* Which section has the address that the table of boxes complains of? */
static int
blame(const struct conf *conf, struct span culprit, struct err *err)
{
	static const char *const names[] = { "alias", "box" };
	struct err why = *err;

	for (size_t i = 0; i < COUNT(names); i++)
		for (size_t n = conf_block_count(conf, names[i]); n-- > 0; ) {
			const struct conf_block *block = conf_block_at(conf, names[i], n);

			if (span_equal_nocase_cstr(culprit, conf_block_title(block)))
				return conf_fail(block, NULL, err, "%s", why.text);
		}
	return conf_fail(conf_block(conf, "boxes"), "postmaster", err, "%s", why.text);
}

static int
read_boxes(struct mailbox_config *config, const struct conf *conf, struct err *err)
{
	struct defaults defaults = { .block = conf_block(conf, "boxes") };
	const char *separators = conf_string(defaults.block, "separators");
	struct span culprit;

	if (find_service_uid(config, conf, &defaults.service_uid, err) < 0)
		return -1;
	config->boxes = boxes_new(&config->arena, conf_bool(defaults.block, "fold_case"),
				  span_from_cstr(separators));
	for (size_t i = 0; i < conf_block_count(conf, "box"); i++)
		if (read_box(config, conf_block_at(conf, "box", i), &defaults, err) < 0)
			return -1;
	for (size_t i = 0; i < conf_block_count(conf, "alias"); i++)
		if (read_alias(config, conf_block_at(conf, "alias", i), err) < 0)
			return -1;
	if (config->forward.address_count > 0)
		boxes_allow_forward(config->boxes);
	if (boxes_seal(config->boxes, span_from_cstr(conf_string(defaults.block, "postmaster")),
		       &culprit, err) < 0)
		return blame(conf, culprit, err);
	return 0;
}

/* A mailbox node knows its relays by their certificates, and no users. */
static int
check_listeners(const struct node_config *node, const struct conf *conf, struct err *err)
{
	for (size_t i = 0; i < node->listener_count; i++)
		if (node->listeners[i].auth != NODE_LISTENER_AUTH_NONE)
			return conf_fail(conf_block_at(conf, "listener", i), "auth", err,
					 "expected none: mailboxd has no users, it knows clients "
					 "by client_names");
	return 0;
}

int
mailbox_config_from(struct mailbox_config **config_out, const struct conf *conf, struct err *err)
{
	struct mailbox_config *config = mem_alloc(sizeof(*config));
	const struct conf_block *node = conf_block(conf, "node");

	*config_out = NULL;
	if (node_config_read(&config->node, conf, err) < 0) {
		mem_free(&config);
		return -1;
	}
	atomic_init(&config->holders, 1);
	arena_init(&config->arena, 0);
	config->allow_volatile_spool = conf_bool(node, "allow_volatile_spool");
	config->box_thread_count = (unsigned)conf_int(node, "box_threads");
	config->remember_ms = conf_duration_ms(node, "remember");
	config->memory_bytes_max = conf_size(node, "memory");
	config->received_count_max = (uint32_t)conf_int(node, "received_max");
	if (check_listeners(&config->node, conf, err) < 0 ||
	    read_path(config, node, "spool", &config->spool, err) < 0 ||
	    forward_config_read(&config->forward, conf, &config->node, &config->arena, err) < 0 ||
	    read_boxes(config, conf, err) < 0) {
		mailbox_config_unref(&config);
		return -1;
	}
	*config_out = config;
	return 0;
}

int
mailbox_config_load(struct mailbox_config **config_out, const char *path, struct err *err)
{
	struct conf *conf;
	int result;

	*config_out = NULL;
	if (conf_parse_file(&conf, &mailbox_config_schema, path, err) < 0)
		return -1;
	result = mailbox_config_from(config_out, conf, err);
	conf_free(&conf);
	return result;
}

struct mailbox_config *
mailbox_config_ref(struct mailbox_config *config)
{
	atomic_fetch_add_explicit(&config->holders, 1, memory_order_relaxed);
	return config;
}

void
mailbox_config_unref(struct mailbox_config **config_ptr)
{
	struct mailbox_config *config = *config_ptr;

	*config_ptr = NULL;
	if (config == NULL ||
	    atomic_fetch_sub_explicit(&config->holders, 1, memory_order_acq_rel) > 1)
		return;
	if (config->forward.tls_context != NULL)
		tls_context_unref(&config->forward.tls_context);
	node_config_fini(&config->node);
	arena_fini(&config->arena);
	mem_free(&config);
}

const char *
mailbox_config_needs_restart(const struct mailbox_config *now, const struct mailbox_config *next)
{
	if (strcmp(now->spool, next->spool) != 0)
		return "node.spool";
	if (strcmp(now->node.control_path, next->node.control_path) != 0)
		return "node.control";
	if (now->node.worker_count != next->node.worker_count)
		return "node.workers";
	if (now->box_thread_count != next->box_thread_count)
		return "node.box_threads";
	if (now->remember_ms != next->remember_ms)
		return "node.remember";
	if (now->memory_bytes_max != next->memory_bytes_max)
		return "node.memory";
	return "";
}
