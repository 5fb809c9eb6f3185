#include "mailbox/node_private.h"

#include "relay/base/json.h"
#include "relay/base/mem.h"
#include "relay/base/version.h"

/* ---------------------------------------------------------------------------- status */

static void
put_counts(struct json *item, const struct worker_counts *counts)
{
	const struct { const char *key; uint64_t value; } rows[] = {
		{ "stored", counts->stored },
		{ "absorbed", counts->absorbed },
		{ "failed", counts->failed },
		{ "over_quota", counts->over_quota },
		{ "waiting", counts->waiting },
		{ "appends", counts->batches },
		{ "lock_waits", counts->lock_waits },
		{ "locks_broken", counts->locks_broken },
		{ "repairs_pending", counts->repairs_pending },
		{ "repairs_cut", counts->repairs_cut },
		{ "repairs_left", counts->repairs_left },
		{ "repairs_whole", counts->repairs_whole },
		{ "journal_syncs", counts->journal_syncs },
		{ "journal_failures", counts->journal_failures },
		{ "journal_damaged", counts->journal_damaged },
		{ "remembered", counts->remembered },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		json_put_int(item, rows[i].key, (int64_t)rows[i].value);
}

static void
put_listeners(struct json *item, const struct node *node)
{
	struct json *list = json_put_list(item, "listening");
	char text[ENDPOINT_TEXT_BYTES_MAX];

	for (size_t i = 0; i < crew_address_count(node->crew); i++) {
		const struct node_listener *listener;
		const struct endpoint *address = crew_address(node->crew, i, &listener);

		json_add_cstr(list, endpoint_print(address, text));
	}
}

static void
status(void *ctx, struct control_request *request)
{
	const struct node *node = ctx;
	const struct mailbox_config *config = node_configuration(node);
	const struct worker_counts counts = worker_counts(node->worker);
	struct json *item = json_new_object();

	json_put_cstr(item, "program", "mailboxd");
	json_put_cstr(item, "version", version_text());
	json_put_cstr(item, "hostname", config->node.hostname);
	json_put_cstr(item, "spool", config->spool);
	json_put_int(item, "uptime_ms", node_wall_ms(node) - node->started_wall_ms);
	json_put_bool(item, "stopping", node->stop_wanted);
	json_put_bool(item, "stores", worker_may_store(node->worker));
	json_put_cstr(item, "reload_error", node_reload_error(node));
	json_put_int(item, "boxes", (int64_t)boxes_count(config->boxes));
	json_put_int(item, "aliases", (int64_t)boxes_alias_count(config->boxes));
	json_put_int(item, "sessions", (int64_t)crew_session_count(node->crew));
	json_put_int(item, "sessions_total", (int64_t)crew_session_total(node->crew));
	json_put_int(item, "sessions_refused", (int64_t)crew_refused_total(node->crew));
	put_counts(item, &counts);
	put_listeners(item, node);
	control_item(request, item);
	control_end(request, CONTROL_OK);
}

/* ----------------------------------------------------------------------------- boxes */

/* A list on its way out; it keeps the table it began with. */
struct boxes_answer {
	struct node *node;
	struct mailbox_config *config;
	size_t at;
};

static enum control_pace
more_boxes(void *state, struct control_request *request)
{
	struct boxes_answer *answer = state;
	const struct boxes *boxes = answer->config->boxes;

	for (size_t n = 0; n < CONTROL_ITEMS_A_TURN && answer->at < boxes_count(boxes); n++) {
		const struct box *box = boxes_at(boxes, answer->at++);
		const struct worker_box_state box_state = worker_box_state(answer->node->worker,
									   box->path);
		struct json *item = json_new_object();

		json_put_text(item, "address", box->address);
		json_put_cstr(item, box->kind == BOXES_MAILDIR ? "maildir" : "file", box->path);
		json_put_cstr(item, "state", box_state.state);
		json_put_int(item, "waiting", (int64_t)box_state.waiting);
		json_put_int(item, "stored", (int64_t)box_state.stored);
		if (box_state.last_stored_ms != 0)
			json_put_int(item, "last_stored_ms", box_state.last_stored_ms);
		json_put_cstr(item, "last_error", box_state.last_error);
		control_item(request, item);
	}
	if (answer->at < boxes_count(boxes))
		return CONTROL_AGAIN;
	control_end(request, CONTROL_OK);
	return CONTROL_ENDED;
}

static void
release_boxes(void *state)
{
	struct boxes_answer *answer = state;

	mailbox_config_unref(&answer->config);
	mem_free(&answer);
}

static void
boxes_verb(void *ctx, struct control_request *request)
{
	static const struct control_hold_ops ops = {
		.more = more_boxes,
		.release = release_boxes,
	};
	struct node *node = ctx;
	struct boxes_answer *answer = mem_alloc(sizeof(*answer));

	answer->node = node;
	answer->config = mailbox_config_ref(crew_plan_app(crew_current_plan(node->crew)));
	control_hold(request, &ops, answer);
}

/* ---------------------------------------------------------------------------- reload */

static void
reload(void *ctx, struct control_request *request)
{
	node_reload(ctx);
	control_end(request, CONTROL_OK);
}

const struct control_verb *
node_verbs(size_t *count_out)
{
	static const struct control_verb verbs[] = {
		{ "status", CONTROL_LOOK, status, "How the node is." },
		{ "boxes", CONTROL_LOOK, boxes_verb,
		    "Every box: what it does and what went wrong." },
		{ "reload", CONTROL_CHANGE, reload, "Read the configuration again." },
	};

	*count_out = sizeof(verbs) / sizeof(verbs[0]);
	return verbs;
}
