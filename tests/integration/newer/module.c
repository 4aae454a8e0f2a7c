/* A module that gives a home commands which strata's table lacks: what a newer server has, or other people's modules
 * bring. Declares of Redis' module interface what it uses, so that no header is needed. */

#include <stddef.h>

typedef int (*Function)(void *context, void **arguments, int count);

static int (*SetModuleAttribs)(void *context, const char *name, int version, int api);
static int (*CreateCommand)(void *context, const char *name, Function run, const char *flags, int first, int last,
                            int step);
static void *(*Call)(void *context, const char *command, const char *format, ...);
static int (*ReplyWithCallReply)(void *context, void *reply);
static int (*ReplyWithSimpleString)(void *context, const char *text);
static int (*WrongArity)(void *context);

/* newer.poke KEY VALUE: sets the key it names and one that it does not. */
static int poke(void *context, void **arguments, int count) {
    if (count != 3) return WrongArity(context);
    Call(context, "SET", "ss", arguments[1], arguments[2]);
    Call(context, "SET", "cs", "shadow", arguments[2]);
    return ReplyWithSimpleString(context, "OK");
}

/* newer.peek KEY: the value of the key that it does not name. */
static int peek(void *context, void **arguments, int count) {
    (void)arguments;
    if (count != 2) return WrongArity(context);
    return ReplyWithCallReply(context, Call(context, "GET", "c", "shadow"));
}

/* hpexpire KEY: that it is there says that fields of hashes expire; what it does is take one away. */
static int hpexpire(void *context, void **arguments, int count) {
    if (count != 2) return WrongArity(context);
    return ReplyWithCallReply(context, Call(context, "HDEL", "sc", arguments[1], "fleeting"));
}

int RedisModule_OnLoad(void *context, void **arguments, int count) {
    int (*get)(const char *name, void *target) = (int (*)(const char *, void *))((void **)context)[0];
    (void)arguments, (void)count;
    get("RedisModule_SetModuleAttribs", &SetModuleAttribs);
    get("RedisModule_CreateCommand", &CreateCommand);
    get("RedisModule_Call", &Call);
    get("RedisModule_ReplyWithCallReply", &ReplyWithCallReply);
    get("RedisModule_ReplyWithSimpleString", &ReplyWithSimpleString);
    get("RedisModule_WrongArity", &WrongArity);
    SetModuleAttribs(context, "newer", 1, 1);
    return CreateCommand(context, "newer.poke", poke, "write", 1, 1, 1) ||
           CreateCommand(context, "newer.peek", peek, "readonly", 1, 1, 1) ||
           CreateCommand(context, "hpexpire", hpexpire, "write", 1, 1, 1);
}
