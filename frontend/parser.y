/* The grammar: spec/language.md, "Grammar". */
%code requires {
#include "frontend/parse.h"
}

%define api.pure full
%define api.location.type {Range}
%define parse.error custom
%define parse.lac full
%locations
%param {void *scanner}
%parse-param {Parse *parse}

%code {
#include <string.h>

#include "frontend/scanner.h"

#define YYLLOC_DEFAULT(current, rhs, n)                                                                                \
    do {                                                                                                               \
        if (n)                                                                                                         \
            (current) = range_join(YYRHSLOC(rhs, 1), YYRHSLOC(rhs, n));                                                \
        else                                                                                                           \
            (current) = (Range){.begin = {.file = parse->file,                                                         \
                                          .line = YYRHSLOC(rhs, 0).end_line,                                           \
                                          .column = YYRHSLOC(rhs, 0).end_column},                                      \
                                .end_line = YYRHSLOC(rhs, 0).end_line,                                                 \
                                .end_column = YYRHSLOC(rhs, 0).end_column + 1};                                        \
    } while (0)

#define PUSH(owner, list, item) arena_push(parse->arena, (owner)->list, (owner)->n_##list, (owner)->list##_capacity, (item))

/* What is no syntax error: the parser's stack is full. Brackets are counted, so it's a row of signs. */
static void yyerror(Range *range, void *scanner, Parse *parse, const char *message) {
    (void)scanner;
    (void)message;
    diagnostics_error(parse->diagnostics, *range, "too many signs in a row");
}

static Expr *expr_new(Parse *parse, ExprKind kind, Range range) {
    Expr *expr = arena_new_of(parse->arena, Expr);
    expr->kind = kind;
    expr->range = range;
    return expr;
}

static Expr *expr_add(Parse *parse, Expr *expr, Expr *item) {
    PUSH(expr, items, item);
    return expr;
}

/* A call, a list, ... of two or three parts. */
static Expr *expr_of(Parse *parse, ExprKind kind, Range range, Expr *a, Expr *b, Expr *c) {
    Expr *parts[] = {a, b, c}, *expr = expr_new(parse, kind, range);
    for (int i = 0; i < 3 && parts[i] != NULL; i++)
        expr_add(parse, expr, parts[i]);
    return expr;
}

static Expr *expr_binary(Parse *parse, char sign, Range range, Expr *a, Expr *b) {
    Expr *expr = expr_of(parse, EXPR_BINARY, range, a, b, NULL);
    expr->sign = sign;
    return expr;
}

/* One more argument of a call under construction; `keyword` may be NULL. */
static Expr *call_add(Parse *parse, Expr *call, const char *keyword, Expr *argument) {
    PUSH(call, items, argument);
    PUSH(call, keywords, keyword);
    return call;
}

static Expr *call_named(Expr *call, const char *name, Range range) {
    call->text = name;
    call->range = range;
    return call;
}

static Statement *statement_new(Parse *parse, StatementKind kind, Range range) {
    Statement *statement = arena_new_of(parse->arena, Statement);
    statement->kind = kind;
    statement->range = range;
    return statement;
}

static Setting *setting_new(Parse *parse, const char *key, Range key_range, bool is_string, Expr *value) {
    Setting *setting = arena_new_of(parse->arena, Setting);
    *setting = (Setting){.key = {key, key_range}, .is_string_key = is_string, .value = value};
    return setting;
}

static void add_constant(Parse *parse, bool is_size, const char *name, Range name_range, Expr *value) {
    Constant *constant = arena_new_of(parse->arena, Constant);
    *constant = (Constant){.name = {name, name_range}, .value = value, .is_size = is_size};
    PUSH(parse->tree, constants, constant);
}

static void add_clause(Parse *parse, Word kind, Word name, Expr *block, Range range) {
    Clause *clause = arena_new_of(parse->arena, Clause);
    *clause = (Clause){.kind = kind, .name = name, .range = range};
    clause->settings = block->settings;
    clause->n_settings = block->n_settings;
    PUSH(parse->tree, clauses, clause);
}
}

%union {
    const char *text;
    int64_t integer;
    double number;
    Expr *expr;
    Statement *statement;
    Function *function;
    Setting *setting;
}

%token YYEOF 0 "the end of the file"
%token MODEL "'model'" IMPORT "'import'" SIZE "'size'" CONST "'const'" FN "'fn'" WEIGHT "'weight'" FOR "'for'" IN "'in'"
%token RETURN "'return'" DOTS "'..'"
%token <text> INIT "'init'" UPCYCLE "'upcycle'" TRAIN "'train'" MESH "'mesh'" CHECKPOINT "'checkpoint'" EXPORT "'export'"
%token <text> NAME "a name" STRING "a string"
%token <integer> INTEGER "an integer"
%token <number> FLOAT "a number"

/* A string after "in" goes to the call before it. */
%precedence NO_PATH
%precedence IN
%left '+' '-'
%left '*' '/'
%precedence UNARY
%precedence '['

%type <expr> expr call arguments argument_list shape shape_items index value settings list_items loop_path weight_init
%type <statement> statement statements
%type <function> parameters parameter_list
%type <setting> setting
%type <text> key

%%

file: header items ;

header: MODEL NAME { parse->tree->name = (Word){$2, @2}; }
      | %empty
      ;

items: %empty
     | items item
     | items error item { yyerrok; }
     ;

item: IMPORT STRING { Word word = {$2, @2}; PUSH(parse->tree, imports, word); }
    | SIZE sizes
    | CONST constants
    | FN NAME '(' parameters ')' '{' statements '}' {
          Function *function = $4;
          function->name = (Word){$2, @2};
          function->range = @$;
          function->body = $7->body;
          function->n_body = $7->n_body;
          PUSH(parse->tree, functions, function);
      }
    | UPCYCLE NAME '{' settings '}' { add_clause(parse, (Word){$1, @1}, (Word){$2, @2}, $4, @$); }
    | EXPORT NAME '{' settings '}' { add_clause(parse, (Word){$1, @1}, (Word){$2, @2}, $4, @$); }
    | TRAIN '{' settings '}' { add_clause(parse, (Word){$1, @1}, (Word){NULL, @1}, $3, @$); }
    | MESH '{' settings '}' { add_clause(parse, (Word){$1, @1}, (Word){NULL, @1}, $3, @$); }
    | CHECKPOINT '{' settings '}' { add_clause(parse, (Word){$1, @1}, (Word){NULL, @1}, $3, @$); }
    ;

sizes: size
     | sizes ',' size
     ;
size: NAME '=' expr { add_constant(parse, true, $1, @1, $3); } ;

constants: constant
         | constants ',' constant
         ;
constant: NAME '=' expr { add_constant(parse, false, $1, @1, $3); } ;

parameters: %empty { $$ = arena_new_of(parse->arena, Function); }
          | parameter_list
          ;
parameter_list: NAME ':' shape {
                    Parameter parameter = {.name = {$1, @1}, .shape = $3};
                    $$ = arena_new_of(parse->arena, Function);
                    PUSH($$, parameters, parameter);
                }
              | NAME ':' NAME shape {
                    Parameter parameter = {.name = {$1, @1}, .dtype = {$3, @3}, .shape = $4};
                    $$ = arena_new_of(parse->arena, Function);
                    PUSH($$, parameters, parameter);
                }
              | parameter_list ',' NAME ':' shape {
                    Parameter parameter = {.name = {$3, @3}, .shape = $5};
                    PUSH($1, parameters, parameter);
                    $$ = $1;
                }
              | parameter_list ',' NAME ':' NAME shape {
                    Parameter parameter = {.name = {$3, @3}, .dtype = {$5, @5}, .shape = $6};
                    PUSH($1, parameters, parameter);
                    $$ = $1;
                }
              ;

shape: '[' shape_items ']' { $$ = $2; $$->range = @$; } ;
shape_items: %empty { $$ = expr_new(parse, EXPR_LIST, @$); }
           | list_items
           | DOTS { $$ = expr_add(parse, expr_new(parse, EXPR_LIST, @$), expr_new(parse, EXPR_ELLIPSIS, @1)); }
           | DOTS ',' list_items {
                 $$ = expr_add(parse, expr_new(parse, EXPR_LIST, @$), expr_new(parse, EXPR_ELLIPSIS, @1));
                 for (size_t i = 0; i < $3->n_items; i++)
                     expr_add(parse, $$, $3->items[i]);
             }
           ;

statements: %empty { $$ = statement_new(parse, STATEMENT_FOR, @$); }
          | statements statement { PUSH($1, body, $2); $$ = $1; }
          | statements error { $$ = $1; }
          ;

statement: WEIGHT NAME ':' shape '=' STRING weight_init {
               yyerrok;
               $$ = statement_new(parse, STATEMENT_WEIGHT, @$);
               $$->name = (Word){$2, @2};
               $$->shape = $4;
               $$->path = $6;
               $$->path_range = @6;
               $$->value = $7;
           }
         | NAME '=' expr {
               yyerrok;
               $$ = statement_new(parse, STATEMENT_ASSIGN, @$);
               $$->name = (Word){$1, @1};
               $$->value = $3;
           }
         | FOR NAME IN expr DOTS expr loop_path '{' statements '}' {
               yyerrok;
               $$ = statement_new(parse, STATEMENT_FOR, @$);
               $$->name = (Word){$2, @2};
               $$->value = $4;
               $$->end = $6;
               $$->path = $7 != NULL ? $7->text : NULL;
               $$->path_range = @7;
               $$->body = $9->body;
               $$->n_body = $9->n_body;
           }
         | RETURN expr {
               yyerrok;
               $$ = statement_new(parse, STATEMENT_RETURN, @$);
               $$->value = $2;
           }
         ;

loop_path: %empty { $$ = NULL; }
         | IN STRING { $$ = expr_new(parse, EXPR_STRING, @2); $$->text = $2; }
         ;

weight_init: %empty { $$ = NULL; }
           | INIT expr { $$ = $2; }
           ;

expr: expr '+' expr { $$ = expr_binary(parse, '+', @$, $1, $3); }
    | expr '-' expr { $$ = expr_binary(parse, '-', @$, $1, $3); }
    | expr '*' expr { $$ = expr_binary(parse, '*', @$, $1, $3); }
    | expr '/' expr { $$ = expr_binary(parse, '/', @$, $1, $3); }
    | '-' expr %prec UNARY { $$ = expr_of(parse, EXPR_NEGATE, @$, $2, NULL, NULL); }
    | '(' expr ')' { $$ = $2; }
    | '(' error ')' { $$ = expr_new(parse, EXPR_ERROR, @$); }
    | INTEGER { $$ = expr_new(parse, EXPR_INT, @$); $$->integer = $1; $$->number = (double)$1; }
    | FLOAT { $$ = expr_new(parse, EXPR_FLOAT, @$); $$->number = $1; }
    | NAME { $$ = expr_new(parse, EXPR_NAME, @$); $$->text = $1; }
    | call %prec NO_PATH
    | call IN STRING { $$ = $1; $$->path = $3; $$->path_range = @3; $$->range = @$; }
    | expr '[' index ']' {
          $$ = $3;
          $$->items[0] = $1;
          $$->range = @$;
      }
    ;

call: NAME '(' arguments ')' { $$ = call_named($3, $1, @$); }
    | NAME '(' error ')' { $$ = expr_new(parse, EXPR_ERROR, @$); }
    ;

arguments: %empty { $$ = expr_new(parse, EXPR_CALL, @$); }
         | argument_list
         ;
argument_list: value { $$ = call_add(parse, expr_new(parse, EXPR_CALL, @$), NULL, $1); }
             | NAME '=' value { $$ = call_add(parse, expr_new(parse, EXPR_CALL, @$), $1, $3); }
             | argument_list ',' value { $$ = call_add(parse, $1, NULL, $3); }
             | argument_list ',' NAME '=' value { $$ = call_add(parse, $1, $3, $5); }
             ;

/* items[0] is set by the rule that uses it. */
index: expr { $$ = expr_of(parse, EXPR_INDEX, @$, $1, $1, NULL); }
     | expr DOTS expr { $$ = expr_of(parse, EXPR_SLICE, @$, $1, $1, $3); }
     | DOTS ',' expr DOTS expr { $$ = expr_of(parse, EXPR_SLICE, @$, $3, $3, $5); $$->is_last = true; }
     ;

value: expr
     | STRING { $$ = expr_new(parse, EXPR_STRING, @$); $$->text = $1; }
     | expr DOTS expr { $$ = expr_of(parse, EXPR_RANGE, @$, $1, $3, NULL); }
     | shape
     ;

list_items: value { $$ = expr_add(parse, expr_new(parse, EXPR_LIST, @$), $1); }
          | list_items ',' value { $$ = expr_add(parse, $1, $3); }
          ;

settings: %empty { $$ = expr_new(parse, EXPR_BLOCK, @$); }
        | settings setting { PUSH($1, settings, $2); $$ = $1; }
        | settings error { $$ = $1; }
        ;

setting: key value { yyerrok; $$ = setting_new(parse, $1, @1, false, $2); }
       | key '{' settings '}' { yyerrok; $3->range = @$; $$ = setting_new(parse, $1, @1, false, $3); }
       | STRING '=' value { yyerrok; $$ = setting_new(parse, $1, @1, true, $3); }
       | STRING '=' '{' settings '}' { yyerrok; $4->range = @$; $$ = setting_new(parse, $1, @1, true, $4); }
       ;

key: NAME
   | INIT
   ;

%%

/* The name of a token without its article. */
static const char *bare_name(yysymbol_kind_t symbol) {
    const char *name = yysymbol_name(symbol), *blank = strchr(name, ' ');
    return blank != NULL ? blank + 1 : name;
}

/* "expected ')', found 'fn'", or "unexpected 'fn'" where more than four tokens could follow. */
static int yyreport_syntax_error(const yypcontext_t *context, void *scanner, Parse *parse) {
    (void)scanner;
    if (parse->is_cut)
        return 0;
    enum { MAX_LISTED = 5 };
    yysymbol_kind_t expected[MAX_LISTED];
    int n = yypcontext_expected_tokens(context, expected, MAX_LISTED);
    yysymbol_kind_t found = yypcontext_token(context);
    const char *text = "";
    for (int i = 0; i < n && n < MAX_LISTED; i++)
        text = arena_printf(parse->arena, "%s%s%s", text, i == 0 ? "expected " : i + 1 == n ? " or " : ", ",
                            yysymbol_name(expected[i]));
    if (text[0] != '\0')
        diagnostics_error(parse->diagnostics, *yypcontext_location(context), "%s, found %s", text,
                          yysymbol_name(found));
    else
        diagnostics_error(parse->diagnostics, *yypcontext_location(context), "unexpected %s", bare_name(found));
    return 0;
}

bool parse_source(Parse *parse, Arena *arena, Diagnostics *diagnostics, uint32_t file) {
    const Source *source = &diagnostics_sources(diagnostics)->items[file];
    bool keeps_tokens = parse->keeps_tokens;
    *parse = (Parse){.arena = arena, .diagnostics = diagnostics, .file = file, .line = 1, .column = 1};
    parse->keeps_tokens = keeps_tokens;
    parse->tree = arena_new_of(arena, File);
    int errors_before = diagnostics_errors(diagnostics);
    yyscan_t scanner;
    yylex_init_extra(parse, &scanner);
    yy_scan_bytes(source->text, (int)source->n_bytes, scanner);
    yyparse(scanner, parse);
    yylex_destroy(scanner);
    return diagnostics_errors(diagnostics) == errors_before;
}
