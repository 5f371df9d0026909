"""Why a record is where it is: every reason code with its words. Add a reason here, and in the SQL that gives it."""

from __future__ import annotations

from enum import StrEnum

from bms_pipeline.core.vocabulary import words


class Reason(StrEnum):
    """A reason code, as the tables hold it. ``text`` has it in words, to follow a name or a dash."""

    text: str

    def __new__(cls, code: str, text: str) -> Reason:
        """Return the reason ``code``, explained by ``text``."""
        reason = str.__new__(cls, code)
        reason._value_, reason.text = code, text
        return reason

    ACCOUNTS_NOT_ALL_READ = (
        "accounts_not_all_read",
        "the list of all accounts was not read yet, so another one may have its name: match it, create it, or run a"
        " sync without --client",
    )
    ACCOUNT_TYPE = ("account_type", "its account is not of a type that is synced")
    BECAME_INACTIVE = (
        "became_inactive",
        "not active in BMS any more; only the field is written that says so",
    )
    BMS_CHANGED = ("bms_changed", "BMS changed since the last load")
    BMS_MARKER = ("bms_marker", "Passportal's record carries its BMS id")
    BMS_WINS = ("bms_wins", "this field is set to “BMS wins”")
    BRANCH_BY_PERSON = (
        "branch_by_person",
        "a person linked this account as a branch; another account owns the client's own fields",
    )
    BRANCH_WITHOUT_OWNER = (
        "branch_without_owner",
        "linked as a branch, and the account that owned the client is not matched any more; match one account to the"
        " client to make it the owner",
    )
    CAME_BACK_AS_ANOTHER = (
        "came_back_as_another",
        "was gone from BMS and came back as somebody else; a person has to tell who it is",
    )
    CATEGORY = ("category", "its category is not among those that are synced")
    CHANGED_SINCE = ("changed_since", "changed in Passportal since that load; left alone")
    CLIENT_AMBIGUOUS = ("client_ambiguous", "waits for its client, which has several candidates")
    CLIENT_BLOCKED = ("client_blocked", "waits for its client, which is blocked")
    CLIENT_EXCLUDED = ("client_excluded", "its client is excluded")
    CLIENT_GONE = ("client_gone", "its client is gone from BMS")
    CLIENT_MERGED = (
        "client_merged",
        "its former client is gone from BMS, which may have merged the two; a person has to decide",
    )
    CLIENT_NOT_CHOSEN = ("client_not_chosen", "not among the clients chosen in the settings")
    CLIENT_NOT_IN_PASSPORTAL = (
        "client_not_in_passportal",
        "waits for its client, which is imported by hand and not listed in Passportal yet",
    )
    CLIENT_NOT_LISTED = ("client_not_listed", "BMS does not list its client")
    CLIENT_OUT_OF_SCOPE = ("client_out_of_scope", "its client is out of scope")
    CLIENT_REFUSED = ("client_refused", "waits for its client, which Passportal refused")
    CLIENT_TO_PLAN = ("client_to_plan", "waits for its client, about which the next plan decides")
    CLIENT_UNKNOWN = ("client_unknown", "waits for its client, of which nobody knows yet whether it arrived")
    CLIENT_UNMATCHED = ("client_unmatched", "waits for its client, which nobody decided about")
    CLIENT_WRITE_UNKNOWN = (
        "client_write_unknown",
        "waits for its client, for which a write to Passportal has no answer yet",
    )
    COMPANY_VAULT = (
        "company_vault",
        "Passportal's record of this name is the Company Vault, which holds the MSP's own documents; only a person"
        " matches it",
    )
    CREATED_BY_PERSON = ("created_by_person", "a person decided to create it")
    CREATED_RECORD_STAYS = ("created_record_stays", "that load created it; nothing is ever deleted in Passportal")
    DETAILS_COMPLETED = ("details_completed", "details read since fill what is empty")
    DOCUMENTS_VANISHED = (
        "documents_vanished",
        "most documents of its client are not listed in Passportal any more, and it may be among them",
    )
    DOCUMENT_UNREADABLE = (
        "document_unreadable",
        "Passportal lists its document, and this key may not read it: it is linked and filled once the key may",
    )
    DOUBTFUL_SERIAL = (
        "doubtful_serial",
        "Passportal has its serial number, which may be a placeholder; a person has to tell",
    )
    EXCLUDED_BY_PERSON = ("excluded_by_person", "a person excluded it")
    FIELD_OWNERSHIP = ("field_ownership", "the settings say which side owns this field")
    GONE_FROM_BMS = ("gone_from_bms", "a complete reading of BMS no longer shows it; it is kept in Passportal")
    HANDED_OVER = ("handed_over", "handed over in a file for the import into Passportal, which does not list it yet")
    IDENTICAL_NAME = ("identical_name", "the same name on both sides")
    IDENTICAL_NAME_AND_EMAIL = ("identical_name_and_email", "the same name and e-mail address on both sides")
    IDENTICAL_SERIAL = ("identical_serial", "the same serial number on both sides")
    INACTIVE = ("inactive", "not active in BMS")
    INTEGRATION_ID_AGREES = (
        "integration_id_agrees",
        "Passportal's record carries its BMS id, and client and name agree",
    )
    LEFT_ITS_CLIENT = (
        "left_its_client",
        "a reading of its client alone no longer shows it there; whether it moved or is gone, the next sync of all"
        " clients shows",
    )
    LINKS_COMPLETED = (
        "links_completed",
        "links whose record is in Passportal by now fill what is empty",
    )
    LINKS_NOT_PROVED = (
        "links_not_proved",
        "nobody saw yet that Passportal keeps a link that is sent by its id: `bms-pipeline doctor --write DOCUMENT"
        " --yes` looks, with a document that has a link",
    )
    LINK_AFTER_CREATE = ("link_after_create", "the next plan links it, once this record is in Passportal")
    LINK_HOLDS_TEXT = ("link_holds_text", "its document holds plain text there, which stays")
    LINK_TO_GONE_RECORD = ("link_to_gone_record", "the record that it names is gone from Passportal")
    LINK_TO_OTHER_CLIENT = ("link_to_other_client", "the record that it names lies in another client of Passportal")
    LINK_TO_UNMATCHED = (
        "link_to_unmatched",
        "the record that it names is not matched yet; the plan after its match links it",
    )
    LINK_WAITS = ("link_waits", "matched, and a link of it waits")
    MAPPING_CHANGED = ("mapping_changed", "the mapping changed since the last load, and BMS did not")
    MATCH = ("match", "matched before")
    MATCHED_BY_PERSON = ("matched_by_person", "a person matched the two")
    MOVED_TO_THIS_CLIENT = (
        "moved_to_this_client",
        "moved to this client in BMS; the record in the former client stays",
    )
    NAME_IN_OTHER_ACCOUNT = (
        "name_in_other_account",
        "another account of the same client has a record of this name; a person has to tell whether it is the same",
    )
    NAME_OF_GONE_RECORD = ("name_of_gone_record", "Passportal has its name, matched to a record that is gone from BMS")
    NEAR_IDENTICAL_NAME = (
        "near_identical_name",
        "Passportal has nearly the same name; a person has to tell whether it is the same",
    )
    NO_NAME = ("no_name", "has no name in BMS")
    NO_PLACE = ("no_place", "BMS has values for which the template in Passportal has no field")
    NO_PLACE_FOR_MARKER = ("no_place_for_marker", "the template of new records has no field for the BMS id (Notes)")
    NOT_IN_PASSPORTAL = ("not_in_passportal", "Passportal has no such record")
    NOT_LISTED_IN_PASSPORTAL = (
        "not_listed_in_passportal",
        "Passportal's API does not list such records, so it may be there already",
    )
    NOT_PLANNED_YET = ("not_planned_yet", "read or unblocked since the last plan")
    NOT_SELECTED = ("not_selected", "not selected for this plan")
    NOT_WRITTEN_YET = ("not_written_yet", "BMS has values that Passportal lacks")
    OTHER_ACCOUNT_NOT_READ = (
        "other_account_not_read",
        "another account of the same client was not read yet: decide about it, or run a sync without --client",
    )
    OUTCOME_UNKNOWN = ("outcome_unknown", "its last operation was sent and nobody knows yet whether it arrived")
    PASSPORTAL_RECORD_GONE = ("passportal_record_gone", "the record that it was matched to is gone from Passportal")
    PASSPORTAL_VALUE_KEPT = ("passportal_value_kept", "edited in Passportal since the last load; kept as it is")
    PLACEHOLDER_NAME = ("placeholder_name", "its name is a placeholder; a person has to decide")
    PLACEHOLDER_ON_BOTH_SIDES = (
        "placeholder_on_both_sides",
        "its name is a placeholder, also in Passportal; a person has to tell",
    )
    REFUSED_BEFORE = (
        "refused_before",
        "Passportal refused exactly this; it is sent again once a value, the document or its template changes, or a"
        " person asks for it (`retry`)",
    )
    REFUSED_BY_PASSPORTAL = ("refused_by_passportal", "Passportal refused its last operation")
    REQUIRED_VALUE_MISSING = (
        "required_value_missing",
        "the mapping requires a value, and BMS has none or the template of new records has no field for it",
    )
    SAME_NAME_OTHER_EVIDENCE = ("same_name_other_evidence", "Passportal has the name, but something else contradicts")
    SERIAL_IN_ANOTHER_CLIENT = (
        "serial_in_another_client",
        "another client has its serial number too, and not all clients were read yet: decide about it, or run a sync"
        " without --client",
    )
    SEVERAL_IN_BMS = ("several_in_bms", "several records in BMS share this name")
    SEVERAL_IN_PASSPORTAL = ("several_in_passportal", "several records in Passportal fit")
    SEVERAL_WITH_MARKER = (
        "several_with_marker",
        "several records in Passportal carry its BMS id; a person has to say which one keeps it",
    )
    SYNC_IS_OFF = ("sync_is_off", "its sync is switched off")
    TAKEN_BACK = ("taken_back", "what that load wrote is taken back")
    TEMPLATE_NEEDS = (
        "template_needs",
        "the template of new records requires a field for which there is no value: give it one in BMS, a source in the"
        " mapping, or make it optional in Passportal",
    )
    TEMPLATE_UNKNOWN = ("template_unknown", "which template new records get is not known; set PASSPORTAL_TEMPLATES")
    UNCHANGED = ("unchanged", "matched, and nothing is to be written")
    UNMATCHED_BY_PERSON = ("unmatched_by_person", "a person took the two apart")
    VENDOR = ("vendor", "its account is of a type for vendors, left out unless the settings name that type")
    WAITS_FOR_DECISION = (
        "waits_for_decision",
        "fits nothing in Passportal; waits for a person: match, create or exclude",
    )
    WHOLLY_OTHER_NAME = (
        "wholly_other_name",
        "BMS shows another name under the same id; a person has to tell whether it is the same",
    )
    WRITE_UNKNOWN = (
        "write_unknown",
        "a write to Passportal has no answer yet; it is looked up before anything else is sent",
    )


def reason_in_words(code: str) -> str:
    """Return a reason code in words. A code of another version is shown with blanks."""
    known = Reason._value2member_map_.get(code)
    return known.text if isinstance(known, Reason) else words(code)
